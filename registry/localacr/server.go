package localacr

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// Server is a registry: an http.Handler over a data directory.
type Server struct {
	cfg      Config
	id       string // 32 hex digits, in tokens and signed URLs
	store    *store
	uploads  *uploads
	cursors  *cursors
	touched  *touched
	genuine  *genuine
	lanes    *lanes
	throttle *throttle
	counters counters

	closing   chan struct{} // closed by Close: ends every wait
	endChores func()        // called by Close

	mu     sync.Mutex // guards all below
	active int        // requests and other work in progress
	closed bool
	idle   chan struct{} // closed when active falls to zero after Close began
}

var _ http.Handler = (*Server)(nil)

// Open opens, and if need be creates, the registry in cfg.Root. It fails when
// another Server, in this process or another, has the directory open.
func Open(cfg Config) (*Server, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	st, err := openStore(cfg.Root, cfg.ListLag)
	if err != nil {
		return nil, err
	}
	lastUpload, err := st.files.dropUploads(time.Now().Add(-uploadLife))
	if err != nil {
		st.close()
		return nil, err
	}
	s := &Server{
		cfg:      cfg,
		id:       idUnder(cfg.Auth, st.seed),
		store:    st,
		uploads:  newUploads(st.files.uploads, st.stateKey),
		cursors:  newCursors(),
		touched:  newTouched(cfg.CollectAfter, st, lastUpload),
		genuine:  newGenuine(),
		lanes:    newLanes(cfg.Bandwidth),
		throttle: &throttle{most: cfg.Throttle, span: cfg.ThrottleSpan},
		closing:  make(chan struct{}),
		idle:     make(chan struct{}),
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.endChores = cancel
	s.enter() // nobody has closed it yet
	go func() {
		defer s.leave()
		s.chores(ctx)
	}()
	return s, nil
}

// enter lets a request or another piece of work in, unless the server is
// closing. Whoever was let in calls leave at the end.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.active++
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
	if s.active == 0 && s.closed {
		close(s.idle)
	}
}

// closeWait is how long Close waits for requests whose clients have stopped
// moving. It is short because http.Server.Shutdown came first.
const closeWait = 5 * time.Second

// Close refuses new requests, ends running ones' waits, finishes accepted
// changes, and lets go of the data directory. Call it after
// http.Server.Shutdown, which lets requests finish in peace.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.closing)
	s.endChores()
	if s.active == 0 {
		close(s.idle)
	}
	s.mu.Unlock()

	patience := time.NewTimer(closeWait)
	defer patience.Stop()
	var err error
	select {
	case <-s.idle:
		err = s.touched.settle()
	case <-patience.C: // whoever still runs may still promise
	}
	return firstError(err, s.store.close())
}

// wait pauses a request. It returns false if the client left or the server
// closes before that.
func (s *Server) wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-s.closing:
	}
	return false
}
