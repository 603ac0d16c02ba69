package localacr

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// cursorLimit bounds how many lists by time may be on their way.
const cursorLimit = 4096

// cursors remember at which time the pages of lists by time ended. The Link
// names only the last item, as ACR's does; when that one is deleted or moved
// before the next page is asked for, which is what a purge does, its time is
// not in the database any more.
type cursors struct{ ends *lru.Cache[string, time.Time] }

func newCursors() *cursors { return &cursors{newLRU[time.Time](cursorLimit)} }

// remember notes where a page ended.
func (c *cursors) remember(list Endpoint, repo, item, order string, t time.Time) {
	c.ends.Add(string(key(string(list), repo, item, order)), t)
}

// find returns the time of a page's last item.
func (c *cursors) find(list Endpoint, repo, item, order string) (time.Time, bool) {
	return c.ends.Get(string(key(string(list), repo, item, order)))
}
