package fs

import (
	"maps"
	"strings"
	"sync"
	"time"
)

// hiddenFor is how long a name stays hidden without a further unlink in the
// same directory.
const hiddenFor = 60 * time.Second

// hidden is the set of names that were unlinked in one directory whose removal
// is the deletion. Unlinking sends nothing: the names are hidden, so that the
// directory can become empty and be removed, and come back when it is not.
//
// The set is bound to a digest, and to when a tag was pushed: when a tag moves or
// is pushed again, nothing of it is hidden. A nil set hides nothing.
type hidden struct {
	mu    sync.Mutex // guards what follows
	bound string
	names map[string]bool // paths below the directory
	last  time.Time
	seq   uint64 // of the latest name; no two sets have the same
}

// expire forgets the names when their time is over or they belong to another
// digest. mu is held.
func (h *hidden) expire(bound string) {
	if h.bound != bound || time.Since(h.last) > hiddenFor {
		h.bound, h.names = bound, nil
	}
}

// has tells whether a name is hidden.
func (h *hidden) has(bound, path string) bool {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expire(bound)
	return h.names[path]
}

// age is has, with how long ago a name was hidden here last.
func (h *hidden) age(bound, path string) (age time.Duration, hidden bool) {
	if h == nil {
		return 0, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expire(bound)
	return time.Since(h.last), h.names[path]
}

// in returns the hidden names of one folder, without its path, and a number
// that tells states apart (0: nothing is hidden).
func (h *hidden) in(bound, dir string) (names map[string]bool, seq uint64) {
	if h == nil {
		return nil, 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expire(bound)
	if len(h.names) == 0 {
		return nil, 0
	}
	names = make(map[string]bool)
	for path := range h.names {
		if name, ok := strings.CutPrefix(path, dir); ok {
			name = strings.TrimPrefix(name, "/")
			if dir == "" || strings.HasPrefix(path, dir+"/") {
				names[name] = true
			}
		}
	}
	return names, h.seq
}

// show brings one name back.
func (h *hidden) show(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.names, path)
}

// restore brings every name back.
func (h *hidden) restore() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names = nil
}

// hiddenSets are the sets of a mount by the directory's path. Only those that
// hide something are kept.
type hiddenSets struct {
	mu   sync.Mutex // guards what follows; taken before a set's own
	sets map[string]*hidden
	seq  uint64
}

// of returns the set of a directory, nil where nothing was hidden.
func (s *hiddenSets) of(path string) *hidden {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sets[path]
}

// hide hides a name below a directory, and keeps the others hidden that were.
func (s *hiddenSets) hide(path, bound, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.sets[path]
	if h == nil {
		if s.sets == nil {
			s.sets = make(map[string]*hidden)
		}
		maps.DeleteFunc(s.sets, func(_ string, h *hidden) bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return len(h.names) == 0 || time.Since(h.last) > hiddenFor
		})
		h = &hidden{}
		s.sets[path] = h
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expire(bound)
	if h.names == nil {
		h.names = make(map[string]bool)
	}
	h.names[name] = true
	h.last = time.Now()
	s.seq++
	h.seq = s.seq
}
