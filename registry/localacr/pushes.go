package localacr

import (
	"sync"
	"time"
)

// pushes are the uploads that are on their way, or just have been. The blobs of
// a push follow each other and its manifest comes last, while a large layer may
// take longer than blobs are kept by themselves. So as long as an upload is on
// its way, what came into its repository before it is kept as well.
type pushes struct {
	keep time.Duration // that long after its last request an upload still counts

	mu    sync.Mutex // guards all below
	into  map[string]*pushed
	total int
	full  time.Time // until then every repository counts as pushed to
}

// pushed are the uploads into a repository.
type pushed struct {
	sessions map[string]*pushing
	oldest   time.Time // no session that counts began before
	looked   time.Time // when oldest was found out
}

// pushing is an upload session.
type pushing struct {
	began time.Time
	seen  time.Time // end of its latest request
	busy  int       // requests in progress
}

// pushesLimit bounds the memory of pushes; past it nothing is collected for a
// while.
const pushesLimit = 100_000

func newPushes(keep time.Duration) *pushes {
	return &pushes{keep: keep, into: map[string]*pushed{}}
}

// step notes a request of a session and returns what to call at its end.
func (p *pushes) step(st uploadState) (end func()) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.room(now) {
		return func() {}
	}
	repo := p.into[st.Name]
	if repo == nil {
		repo = &pushed{sessions: map[string]*pushing{}, oldest: st.StartedAt, looked: now}
		p.into[st.Name] = repo
	}
	one := repo.sessions[st.UUID]
	if one == nil {
		one = &pushing{began: st.StartedAt}
		repo.sessions[st.UUID] = one
		p.total++
		if one.began.Before(repo.oldest) {
			repo.oldest = one.began
		}
	}
	one.busy++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		one.busy--
		one.seen = time.Now()
	}
}

// room reports whether one more session can be remembered. p.mu is held.
func (p *pushes) room(now time.Time) bool {
	switch {
	case now.Before(p.full):
		return false
	case p.total < pushesLimit:
		return true
	}
	for repo := range p.into {
		p.look(repo, now)
	}
	if p.total >= pushesLimit {
		p.full = now.Add(p.keep)
	}
	return p.total < pushesLimit
}

// since returns a time that no upload began before that is on its way into the
// repository; now if there is none.
func (p *pushes) since(repo string, now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Before(p.full) {
		return time.Time{}
	}
	// A collection asks for every blob.
	if r := p.into[repo]; r != nil && now.Sub(r.looked) > p.keep/16 {
		p.look(repo, now)
	}
	if r := p.into[repo]; r != nil {
		return r.oldest
	}
	return now
}

// look forgets the uploads that do not count any more. p.mu is held.
func (p *pushes) look(repo string, now time.Time) {
	r := p.into[repo]
	r.oldest, r.looked = now, now
	for id, one := range r.sessions {
		if one.busy == 0 && now.Sub(one.seen) >= p.keep {
			delete(r.sessions, id)
			p.total--
		} else if one.began.Before(r.oldest) {
			r.oldest = one.began
		}
	}
	if len(r.sessions) == 0 {
		delete(p.into, repo)
	}
}
