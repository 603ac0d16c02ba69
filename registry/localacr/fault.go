package localacr

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Faults are deliberate misbehaviours of a Server, for tests of its clients.
// They may be changed while the server runs. The zero value has none; NewFaults
// makes the choices of Fault.Probability repeatable.
type Faults struct {
	mu    sync.Mutex // guards all below
	rules []*rule
	rand  *rand.Rand
}

type rule struct {
	Fault
	seen int // matching requests so far
	hits int // those it struck
}

// Fault is one misbehaviour: which requests it strikes, and what becomes of
// them. Of several that match, the first one added wins.
type Fault struct {
	// Endpoint, Method and Repository narrow the requests; empty is any.
	// HEAD is a method of its own. The signed URL of a blob is
	// EndpointStorage and has no repository.
	Endpoint   Endpoint
	Method     string
	Repository string

	// Skip lets that many matching requests pass first. Count ends the fault
	// after that many hits; 0 is without end. Probability strikes by chance;
	// 0 is always.
	Skip        int
	Count       int
	Probability float64

	Effect
}

// Effect is what a fault does to a request. Fields combine where that makes
// sense; the zero value does nothing but count.
type Effect struct {
	// Status answers with this status and an error in the endpoint's own
	// format (JSON, or XML from storage), with RetryAfter as the header if
	// not empty.
	Status     int
	RetryAfter string

	// Delay waits before anything else. Bandwidth is in bytes per second.
	Delay     time.Duration
	Bandwidth int64

	// Reset drops the connection before the answer.
	Reset bool

	// ResetUpload drops the connection after this many bytes of the
	// request's body were taken in, which damages an upload session.
	ResetUpload int64

	// ResetAfter drops the connection after that many bytes of the answer's
	// body.
	ResetAfter int64

	// StallAfter stops sending after that many bytes of the body and keeps
	// the connection until the client leaves; Stall does so before the
	// headers.
	StallAfter int64
	Stall      bool

	// Truncate cuts that many bytes from the end of the body. The
	// Content-Length stays what it was and the connection is closed, or,
	// with TruncateLength, agrees with what is sent.
	Truncate       int64
	TruncateLength bool

	// Corrupt flips one byte of the body, the one at CorruptAt.
	Corrupt   bool
	CorruptAt int64

	// IgnoreRange answers a ranged request in full.
	IgnoreRange bool

	// WrongRange answers with a Content-Range that is one off.
	WrongRange bool

	// ExpiredSignature has storage refuse the signed URL (403, XML).
	ExpiredSignature bool

	// ExpiredToken refuses the token (401, invalid_token); NarrowToken says
	// that it lacks the scope (401, insufficient_scope).
	ExpiredToken bool
	NarrowToken  bool

	// PageSize caps the pages of lists.
	PageSize int

	// LinkHost makes the Link of a list absolute, to this host.
	LinkHost string

	// RedirectLoop redirects a request to itself (307).
	RedirectLoop bool
}

// NewFaults returns an empty set whose chances follow from seed.
func NewFaults(seed uint64) *Faults {
	return &Faults{rand: rand.New(rand.NewPCG(seed, seed))}
}

// Add puts a fault in place and returns a function that reports how many
// requests it has struck.
func (f *Faults) Add(fault Fault) (hits func() int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &rule{Fault: fault}
	f.rules = append(f.rules, r)
	return func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return r.hits
	}
}

// Clear removes all faults.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// strike returns what happens to a request, nil for nothing.
func (f *Faults) strike(rt route, r *http.Request) *Effect {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, rule := range f.rules {
		if rule.matches(rt, r) && f.due(rule) {
			rule.hits++
			return &rule.Effect
		}
	}
	return nil
}

func (r *rule) matches(rt route, req *http.Request) bool {
	return (r.Endpoint == "" || r.Endpoint == rt.endpoint) &&
		(r.Method == "" || r.Method == req.Method) &&
		(r.Repository == "" || r.Repository == rt.name)
}

// due counts a matching request and decides whether it is struck.
func (f *Faults) due(r *rule) bool {
	r.seen++
	if r.seen <= r.Skip || r.Count > 0 && r.hits >= r.Count {
		return false
	}
	if r.Probability == 0 {
		return true
	}
	if f.rand == nil {
		f.rand = rand.New(rand.NewPCG(0, 0))
	}
	return f.rand.Float64() < r.Probability
}
