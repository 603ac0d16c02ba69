package fs

import (
	"strings"
	"sync"
)

// unlisted are the repositories that this mount took out of the catalog. The
// registry answers for them by name; but of a component above them that holds
// nothing else it knows nothing, and nobody could walk there to show them
// again.
//
// The zero value is ready for use.
type unlisted struct {
	mu    sync.Mutex // guards what follows
	names map[string]bool
}

// note remembers a repository, or forgets it.
func (u *unlisted) note(name string, isUnlisted bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !isUnlisted {
		delete(u.names, name)
		return
	}
	if u.names == nil {
		u.names = make(map[string]bool)
	}
	u.names[name] = true
}

// below tells whether one of them is below a component.
func (u *unlisted) below(path string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for name := range u.names {
		if strings.HasPrefix(name, path+"/") {
			return true
		}
	}
	return false
}
