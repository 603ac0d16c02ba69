package localacr_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/acrfs/acrfs/registry/localacr"
)

// pipes is a listener whose connections are pipes. They keep nothing on the way,
// and a synctest bubble's clock goes on while both ends wait.
type pipes struct {
	dialed chan net.Conn
	closed chan struct{}
}

func (p *pipes) dial() (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.dialed <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialed:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// bubble runs test with a registry in a synctest bubble, where waiting costs no
// time. It begins now, for files have the machine's time. dial is another
// connection to it.
func bubble(t *testing.T, cfg localacr.Config, test func(r *rig, dial func() net.Conn)) {
	t.Helper()
	cfg.Root = freshRoot(t)
	now := time.Now()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(now))
		s, err := localacr.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		p := &pipes{make(chan net.Conn), make(chan struct{})}
		web := &http.Server{Handler: s}
		served := make(chan error)
		go func() { served <- web.Serve(p) }()
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return p.dial() }}
		r := &rig{TB: t, Server: s, url: "http://registry.test", host: "registry.test", tokens: map[string]string{}}
		r.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		defer func() {
			transport.CloseIdleConnections()
			if err := errors.Join(web.Close(), s.Close()); err != nil {
				t.Error(err)
			}
			<-served
		}()
		test(r, func() net.Conn {
			t.Helper()
			c, err := p.dial()
			if err != nil {
				t.Fatal(err)
			}
			return c
		})
	})
}
