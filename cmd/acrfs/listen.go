package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"
)

// webServer serves HTTP in the background until it is stopped.
type webServer struct {
	address string // what it really listens on
	scheme  string
	server  *http.Server
	ended   chan error // one value, when serving ended
}

// listen starts to serve handler on address, with https when config is not
// nil. A port of 0 becomes a free one. flag is where the address came from.
func listen(ctx context.Context, flag, address string, handler http.Handler, config *tls.Config, logger *slog.Logger) (*webServer, error) {
	listener, err := bind(ctx, flag, address)
	if err != nil {
		return nil, err
	}
	return serveOn(listener, handler, config, logger), nil
}

// bind is the first half of listen: clients can connect, and wait for serveOn.
func bind(ctx context.Context, flag, address string) (net.Listener, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	if err == nil {
		return listener, nil
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("--%s %s: the port is in use; want another one, or 0 for any that is free", flag, address)
	}
	if whole := (*net.OpError)(nil); errors.As(err, &whole) {
		err = whole.Err // without the address, once more
	}
	return nil, fmt.Errorf("--%s %s: %w", flag, address, err)
}

// serveOn is the second half of listen. It takes the listener over.
func serveOn(listener net.Listener, handler http.Handler, config *tls.Config, logger *slog.Logger) *webServer {
	w := &webServer{
		address: listener.Addr().String(),
		scheme:  "http",
		server: &http.Server{
			Handler: handler,
			// Bodies may take hours; headers and idle connections may not.
			ReadHeaderTimeout: 30 * time.Second,
			IdleTimeout:       5 * time.Minute,
			// Clients that hang up or do not trust our certificate.
			ErrorLog:  slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
			TLSConfig: config,
		},
		ended: make(chan error, 1),
	}
	go func() {
		if config != nil {
			w.ended <- w.server.ServeTLS(listener, "", "")
		} else {
			w.ended <- w.server.Serve(listener)
		}
	}()
	if config != nil {
		w.scheme = "https"
	}
	return w
}

// url is where a program on this machine finds the server.
func (w *webServer) url() string {
	host, port, err := net.SplitHostPort(w.address)
	if err != nil {
		return w.scheme + "://" + w.address
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return w.scheme + "://" + net.JoinHostPort(host, port)
}

// stop accepts nothing new, gives running requests as long as limit to finish,
// and ends the others.
func (w *webServer) stop(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := w.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.Join(fmt.Errorf("requests still running after %v were cut off", limit), w.server.Close())
	}
	<-w.ended
	return err
}
