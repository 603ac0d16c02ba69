package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/acrfs/acrfs/registry/localacr"
)

const (
	// finishLimit is how long running requests may go on after a signal;
	// what stops containers and services kills after about as long.
	finishLimit = 30 * time.Second
	// collectEvery is how often --gc looks for blobs that nobody needs.
	collectEvery = time.Hour
)

func newServe() *cobra.Command {
	var flags serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a local registry that behaves like Azure Container Registry",
		Long: `serve runs a registry on this machine that behaves like Azure Container
Registry, for tests and trials of any client: its lists and properties, its
locks, its tokens, its redirects to storage. Data is kept in --root.`,
		Example: `  acrfs serve --seed                with the demo's samples
  acrfs serve --listen :5000 --tls-self-signed certs
                                    https, for clients that insist on it
  acrfs serve --latency 30ms --bandwidth 25MiB
                                    a registry far away`,
		Args: wantArgs(0, 0, "acrfs serve [--root DIR] [--listen ADDRESS]"),
	}
	flags.bind(cmd.Flags(), readEnvironment())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := flags.check(cmd.Flags()); err != nil {
			return err
		}
		return serve(cmd.Context(), &flags, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// serve runs the registry until ctx ends, and then lets running requests
// finish.
func serve(ctx context.Context, flags *serveFlags, stdout, stderr io.Writer) (err error) {
	logger, closeLog, err := flags.log.open(stderr)
	if err != nil {
		return err
	}
	defer closeLog()
	// First, since filling the registry may take long.
	listener, err := bind(ctx, "listen", flags.listen)
	if err != nil {
		return err
	}
	defer listener.Close() // for when it is never served
	config, err := flags.tls()
	if err != nil {
		return err
	}
	server, err := flags.open(ctx, logger, stdout)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := server.Close(); err == nil {
			err = closeErr
		}
	}()
	collect := make(chan os.Signal, 1)
	signal.Notify(collect, syscall.SIGUSR1)
	defer signal.Stop(collect)

	web := serveOn(listener, server, config, logger)
	fmt.Fprintf(stdout, "serving %s, data in %s, auth %s\n", web.url(), flags.root, &flags.auth)
	if flags.tlsSelfSigned != "" {
		fmt.Fprintf(stdout, "clients trust it with %s\n", filepath.Join(flags.tlsSelfSigned, "ca.pem"))
	}
	fmt.Fprintf(stdout, "next: acrfs mount %s DIRECTORY%s\n", web.url(), flags.trustHint())

	for {
		select {
		case <-collect:
			if _, err := server.Collect(ctx); err != nil {
				logger.Warn("collect failed", "error", err)
			}
		case err := <-web.ended:
			web.ended <- err // for stop
			web.stop(finishLimit)
			return err
		case <-ctx.Done():
			fmt.Fprintf(stdout, "stopping when running requests are finished, in %v at the latest; once more stops at once\n", finishLimit)
			return web.stop(finishLimit)
		}
	}
}

// open opens the registry and fills it as the flags say.
func (s *serveFlags) open(ctx context.Context, logger *slog.Logger, stdout io.Writer) (*localacr.Server, error) {
	config := localacr.Config{
		Root:        s.root,
		Name:        s.name,
		Logger:      logger,
		Auth:        localacr.AuthMode(s.auth.chosen),
		TokenLife:   s.tokenLife,
		DirectBlobs: s.directBlobs,
		StorageHost: s.storageHost,
		ReadOnly:    s.readOnly,
		Latency:     s.latency,
		Bandwidth:   int64(s.bandwidth),
		ListLag:     s.listLag,

		Throttle:     s.throttle.count,
		ThrottleSpan: s.throttle.per,
	}
	if s.gc {
		config.CollectEvery = collectEvery
	}
	if s.users != "" {
		users, err := localacr.ReadUsers(s.users)
		if err != nil {
			return nil, fmt.Errorf("--users: %w", err)
		}
		config.Users = users
	}
	if config.Auth == localacr.AuthEntra {
		trust, err := s.issuer.trust(ctx)
		if err != nil {
			return nil, err
		}
		config.Entra = trust
	}
	server, err := localacr.Open(config)
	if err != nil {
		return nil, fmt.Errorf("--root %q: %w", s.root, err)
	}
	if err := s.fill(ctx, server, stdout); err != nil {
		server.Close()
		return nil, err
	}
	return server, nil
}

func (s *serveFlags) fill(ctx context.Context, server *localacr.Server, stdout io.Writer) error {
	if s.seed {
		if err := server.Seed(ctx); err != nil {
			return fmt.Errorf("--seed: %w", err)
		}
	}
	for _, path := range s.imports {
		in, err := server.Import(ctx, path, "")
		if err != nil {
			return fmt.Errorf("--import: %w", err)
		}
		fmt.Fprintf(stdout, "imported %s as %s: %d tags, %d manifests, %d blobs\n", path, in.Repository, len(in.Tags), in.Manifests, in.Blobs)
	}
	return nil
}

// tls returns how to serve https, or nil for http.
func (s *serveFlags) tls() (*tls.Config, error) {
	switch {
	case s.tlsCert != "":
		pair, err := tls.LoadX509KeyPair(s.tlsCert, s.tlsKey)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert and --tls-key: %w", err)
		}
		return &tls.Config{Certificates: []tls.Certificate{pair}}, nil
	case s.tlsSelfSigned != "":
		// Every name that clients on this machine, or on its network, may use.
		names := []string{"localhost", "127.0.0.1", "::1", hostOnly(s.listen), hostOnly(s.name), hostOnly(s.storageHost)}
		if host, err := os.Hostname(); err == nil {
			names = append(names, host)
		}
		return selfSigned(s.tlsSelfSigned, names)
	}
	return nil, nil
}

func (s *serveFlags) trustHint() string {
	if s.tlsSelfSigned == "" {
		return ""
	}
	return " --tls-ca " + shellWord(filepath.Join(s.tlsSelfSigned, "ca.pem"))
}

// hostOnly is the host of host or host:port.
func hostOnly(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}
