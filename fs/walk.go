package fs

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxAhead is how many items are fetched ahead of a walker at most. With
	// prefetches in flight at once it hides the registry's latency.
	maxAhead = 32
	// A walker that pauses for longer starts anew.
	walkPause = 2 * time.Second
	// maxSkip is how many items a walker may leave out and still be on its
	// course.
	maxSkip = 2
)

// walk notices that someone goes through the items of a list one after the
// other, and tells which ones to fetch ahead. One item alone fetches nothing
// ahead; each further one on the same course looks twice as far, up to
// maxAhead.
//
// Tools go through a directory in its own order (find, du), by name (shells,
// rsync) or by inode number (cp, and whatever uses fts on large ones). The walk
// finds out which it is by what is asked for. The zero value is ready for use.
type walk struct {
	mu      sync.Mutex // guards what follows
	last    time.Time
	item    int // asked for last
	seq     uint64
	courses []*course // made for the list with this seq
	tracks  []track
	rest    int // for a walker on no known course: all before was fetched ahead
}

// track is how well a course fits.
type track struct {
	streak int // items in a row that were on it
	cursor int // places before it were asked for or fetched ahead
}

// walked is a list that someone may be going through.
type walked struct {
	n    int
	seq  uint64 // tells lists apart
	most int    // items to fetch ahead; 0: maxAhead
	// What the items are ordered by, on courses beside the list's own.
	orders []func(i int) string
	// How lists of this kind were gone through lately, nil: unknown.
	habit *habit
}

func (l walked) ahead() int { return cmp.Or(l.most, maxAhead) }

// habit remembers how lists of one kind are gone through, so that someone who
// comes from one to the next (the tags of each repository, the layers of each
// image) need not show anew that all of it is wanted. The zero value is ready for
// use.
type habit struct {
	mu     sync.Mutex // guards what follows
	course int
	last   time.Time // that a walk was on it for practised items
}

// practised is the streak that makes a habit.
const practised = 3

func (h *habit) learn(course, streak int, now time.Time) {
	if h == nil || streak < practised {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.course, h.last = course, now
}

// known returns the course to expect, false when there is no recent habit.
func (h *habit) known(now time.Time) (course int, ok bool) {
	if h == nil {
		return 0, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.course, now.Sub(h.last) <= walkPause
}

// course is an order of the items of a list.
type course struct {
	items  []int32 // by place
	places []int32 // by item
}

func newCourse(n int, key func(i int) string) *course {
	c := &course{items: make([]int32, n), places: make([]int32, n)}
	keys := make([]string, n)
	for i := range keys {
		c.items[i], keys[i] = int32(i), key(i)
	}
	slices.SortFunc(c.items, func(a, b int32) int { return strings.Compare(keys[a], keys[b]) })
	for place, item := range c.items {
		c.places[item] = int32(place)
	}
	return c
}

// byIno orders items by inode number.
func byIno(ino uint64) string { return string(binary.BigEndian.AppendUint64(nil, ino)) }

// place and item work for the list's own order, too: a nil course.
func (c *course) place(item int) int {
	if c == nil {
		return item
	}
	return int(c.places[item])
}

func (c *course) item(place int) int {
	if c == nil {
		return place
	}
	return int(c.items[place])
}

// ask notes that item i was asked for and returns the items to fetch ahead.
// The list may be another at each call.
func (w *walk) ask(i int, l walked) []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	before, now := w.item, time.Now()
	paused := now.Sub(w.last) > walkPause
	w.item, w.last = i, now
	if len(w.courses) != 1+len(l.orders) || w.seq != l.seq {
		w.courses, w.seq = make([]*course, 1+len(l.orders)), l.seq
	}
	if paused || len(w.tracks) != len(w.courses) {
		w.tracks, w.rest = make([]track, len(w.courses)), 0
		k, known := l.habit.known(now)
		if !known {
			return nil
		}
		w.tracks[k].streak = practised
		return w.ahead(i, k, l)
	}
	if before >= l.n || before == i {
		return nil
	}
	best := 0
	for k := range w.courses {
		w.prepare(k, l)
		t, at, from := &w.tracks[k], w.courses[k].place(i), w.courses[k].place(before)
		if at > from && at <= max(from+1+maxSkip, t.cursor) {
			t.streak++
		} else {
			*t = track{}
		}
		if t.streak > w.tracks[best].streak {
			best = k
		}
		if k == 0 && t.streak > 0 && len(l.orders) > 0 && w.courses[1] == nil {
			break // no need to look for another
		}
	}
	l.habit.learn(best, w.tracks[best].streak, now)
	if w.tracks[best].streak == 0 {
		from := min(w.rest, l.n)
		w.rest = min(from+min(2, l.ahead()), l.n)
		return places(nil, from, w.rest)
	}
	return w.ahead(i, best, l)
}

// prepare makes a course if it is not there yet.
func (w *walk) prepare(k int, l walked) {
	if k > 0 && w.courses[k] == nil {
		w.courses[k] = newCourse(l.n, l.orders[k-1])
	}
}

// ahead returns what follows an item on a course, as far as its streak carries.
func (w *walk) ahead(i, k int, l walked) []int {
	w.prepare(k, l)
	t, c := &w.tracks[k], w.courses[k]
	at := c.place(i)
	from := max(at+1, t.cursor)
	t.cursor = max(from, min(l.n, at+1+min(1<<min(t.streak, 8), l.ahead())))
	return places(c, from, min(t.cursor, l.n))
}

// places are the items of a course from one place up to another.
func places(c *course, from, to int) []int {
	var items []int
	for place := from; place < to; place++ {
		items = append(items, c.item(place))
	}
	return items
}
