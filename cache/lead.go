package cache

// lead is how far read-ahead runs ahead of the hash. Beyond it the hash is what
// everybody waits for in the end, and its processor better not be busy with
// bytes that it will have to read back.
const lead = 32 << 20

// lead is that of this download: without a disk what is not hashed must be in
// memory still when the hash gets there. f.mu is held.
func (f *flight) lead() int64 {
	if f.mem != nil {
		return f.memoryShare() / 2
	}
	return lead
}

// awaitHash holds up read-ahead, and without a disk readers who go from the hash
// on, that have run too far ahead of the hash until that has caught up by half,
// or a reader needs it to go on; f.mu is held when it is called and when it
// returns.
func (f *flight) awaitHash(s *stream) {
	if !s.bulk && (f.mem == nil || f.have.gap(chunkOf(f.hashed)) < chunkOf(s.pos)) {
		return
	}
	if !f.hashing || f.unhashed() < f.lead() {
		return
	}
	for f.hashing && f.unhashed() > f.lead()/2 && s.ctx.Err() == nil && !f.urgent(s) {
		if f.caughtUp == nil {
			f.caughtUp = make(chan struct{})
		}
		caughtUp := f.caughtUp
		f.mu.Unlock()
		select {
		case <-caughtUp:
		case <-s.ctx.Done():
		}
		f.mu.Lock()
	}
}

// urgent reports whether a reader waits for what a stream brings next while the
// hash has far more to do than this download's lead: the bytes of an earlier run,
// which are not the reader's; f.mu is held.
func (f *flight) urgent(s *stream) bool {
	if f.mem != nil || f.unhashed() <= 2*lead {
		return false
	}
	r := s.span()
	for _, d := range f.demands {
		if d.over || d.whole {
			continue
		}
		if first := f.have.gap(chunkOf(d.lo)); first >= r.lo && first < r.hi {
			return true
		}
	}
	return false
}

// unhashed is how much of what is there the hash can go on with; f.mu is held.
func (f *flight) unhashed() int64 {
	return int64(f.have.gap(chunkOf(f.hashed)))*chunkSize - f.hashed
}

// hashedMore lets the streams go on that wait for the hash; f.mu is held.
func (f *flight) hashedMore() {
	if !f.hashing || f.unhashed() <= f.lead()/2 {
		f.releaseHeld()
	}
}

// releaseHeld has the streams that wait for the hash look again; f.mu is held.
func (f *flight) releaseHeld() {
	if f.caughtUp != nil {
		close(f.caughtUp)
		f.caughtUp = nil
	}
}
