package localacr

import (
	"net/http"
	"sync/atomic"
)

// Operation is an endpoint called with a method, as Stats counts them.
type Operation struct {
	Method   string // "OTHER" for a method that no registry has
	Endpoint Endpoint
}

// Stats is a snapshot of a server's counters since Open.
type Stats struct {
	Requests map[Operation]int64 // only those that occurred
	Statuses map[int]int64       // answers by status code, only those that occurred
	Sent     int64               // bytes of answers' bodies
	Received int64               // bytes of blobs and manifests taken in
}

var methods = [...]string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, "OTHER",
}

// counters are the live numbers behind Stats. Endpoints and methods that a
// client makes up share a row, so the tables cannot grow.
type counters struct {
	requests [len(endpoints)][len(methods)]atomic.Int64
	statuses [600]atomic.Int64
	sent     atomic.Int64
	received atomic.Int64
}

// Stats returns the counters' present values.
func (s *Server) Stats() Stats {
	st := Stats{Requests: map[Operation]int64{}, Statuses: map[int]int64{}, Sent: s.counters.sent.Load(), Received: s.counters.received.Load()}
	for i := range endpoints {
		for j := range methods {
			if n := s.counters.requests[i][j].Load(); n > 0 {
				st.Requests[Operation{methods[j], endpoints[i]}] = n
			}
		}
	}
	for i := range s.counters.statuses {
		if n := s.counters.statuses[i].Load(); n > 0 {
			st.Statuses[i] = n
		}
	}
	return st
}

func (c *counters) request(e Endpoint, method string) {
	i, j := len(endpoints)-1, len(methods)-1
	for k := range endpoints {
		if endpoints[k] == e {
			i = k
		}
	}
	for k := range methods {
		if methods[k] == method {
			j = k
		}
	}
	c.requests[i][j].Add(1)
}

func (c *counters) status(code int) {
	if code > 0 && code < len(c.statuses) {
		c.statuses[code].Add(1)
	}
}
