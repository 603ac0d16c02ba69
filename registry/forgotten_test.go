package registry

import (
	"bytes"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// forgetful is a middle box on the way to a server. It can forget the
// connections that it has, as after a change of network: what they carry is
// swallowed, and nobody is told. New ones are forwarded.
type forgetful struct {
	net.Listener
	server *httptest.Server

	mu    sync.Mutex // guards conns
	conns []*atomic.Bool
}

// newForgetful puts a box before a server with TLS.
func newForgetful(t *testing.T, handler http.Handler, http2 bool) *forgetful {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = http2
	s.StartTLS()
	t.Cleanup(s.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forgetful{Listener: l, server: s}
	t.Cleanup(func() { l.Close() })
	go f.serve()
	return f
}

func (f *forgetful) client(t *testing.T, edit func(*Config)) *Client {
	t.Helper()
	return newClient(t, "https://"+f.Addr().String(), func(c *Config) {
		c.RootCAs = x509.NewCertPool()
		c.RootCAs.AddCert(f.server.Certificate())
		edit(c)
	})
}

func (f *forgetful) serve() {
	for {
		in, err := f.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", f.server.Listener.Addr().String())
		if err != nil {
			in.Close()
			continue
		}
		forgotten := &atomic.Bool{}
		f.mu.Lock()
		f.conns = append(f.conns, forgotten)
		f.mu.Unlock()
		pump := func(from, to net.Conn) {
			buffer := make([]byte, 32<<10)
			for {
				n, err := from.Read(buffer)
				switch {
				case forgotten.Load():
					if err != nil {
						return
					}
				case err != nil:
					to.Close()
					return
				default:
					to.Write(buffer[:n])
				}
			}
		}
		go pump(in, out)
		go pump(out, in)
	}
}

func (f *forgetful) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		c.Store(true)
	}
}

// TestConnectionThatDiedWithoutAWord costs one operation a while, and not every
// operation until the kernel gives it up.
func TestConnectionThatDiedWithoutAWord(t *testing.T) {
	t.Parallel() // it waits for a ping
	for name, http2 := range map[string]bool{"HTTP/2": true, "HTTP/1.1": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newForgetful(t, reply(200, `{"tags":["v1"]}`), http2)
			c := f.client(t, func(cfg *Config) {
				cfg.MetadataTimeout = 2 * (pingAfter + pingTimeout)
				if !http2 {
					cfg.MetadataTimeout = time.Second
				}
			})
			if err := listTags(t, c, "r"); err != nil {
				t.Fatal(err)
			}
			f.forget()
			err := listTags(t, c, "r")
			if http2 && err != nil {
				t.Errorf("the ping did not save it: %v", err)
			}
			if err := listTags(t, c, "r"); err != nil {
				t.Errorf("the one after it: %v", err)
			}
		})
	}
}

// TestParallelRangesWhoseConnectionsDied: they left many in the pool, and the
// first that is silent for too long speaks for all.
func TestParallelRangesWhoseConnectionsDied(t *testing.T) {
	content := make([]byte, 8<<20)
	d := digest.FromBytes(content)
	f := newForgetful(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(20 * time.Millisecond) // so that no two share a connection
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}), false)
	c := f.client(t, func(cfg *Config) { cfg.StallTimeout = time.Second })
	read := func(i int64) error {
		r, err := c.OpenBlob(t.Context(), "r", d, i<<20, 1<<20)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		return err
	}
	if err := read(0); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range int64(8) {
		all.Go(func() {
			if err := read(i); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	f.forget()
	began := time.Now()
	if err := read(0); err != nil {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}
