package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/cache"
	"github.com/acrfs/acrfs/fs"
	"github.com/acrfs/acrfs/registry"
)

func newMount() *cobra.Command {
	env := readEnvironment()
	var flags mountFlags
	cmd := &cobra.Command{
		Use:   "mount REGISTRY MOUNTPOINT",
		Short: "Mount a registry on an empty directory",
		Long: `mount shows a registry as a directory tree until Ctrl-C or until it is
unmounted. Content is downloaded when it is read, checked against its digest,
and kept in a cache on disk. The mount is read-only unless --writable says
otherwise; then removing the directory of a tag, a manifest or a repository
deletes it, and setfattr sets the flags that lock it.

REGISTRY is a host (myregistry.azurecr.io), or a URL when it is not https on
port 443: https://host:8443, http://localhost:5000.

  MOUNTPOINT/team/app/_tags/v1/manifest.json           the manifest behind a tag
  MOUNTPOINT/team/app/_manifests/sha256:…/             the same by digest
  MOUNTPOINT/team/app/_blobs/sha256:…                  any blob, by name only`,
		Example: `  acrfs mount myregistry.azurecr.io /mnt/acr
  acrfs mount --daemon --log-file acrfs.log myregistry.azurecr.io /mnt/acr
  acrfs mount --username ci --password-stdin registry.example /mnt/acr <token
  acrfs mount http://localhost:5000 /mnt/local
  acrfs mount --writable=team/app --dry-run myregistry.azurecr.io /mnt/acr`,
	}
	flags.bind(cmd.Flags(), env)
	want := wantArgs(2, 2, "acrfs mount myregistry.azurecr.io /mnt/acr")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := flags.writable.checkArgs(args); err != nil {
			return err
		}
		return want(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := flags.check(cmd.Flags()); err != nil {
			return err
		}
		if flags.daemon && flags.readyFD == 0 {
			return startDaemon(cmd, args, flags.passwordStdin || flags.username != "" || env.username != "")
		}
		return mount(cmd.Context(), args[0], args[1], &flags, env, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// mount serves endpoint on mountpoint until ctx ends or someone unmounts it.
func mount(ctx context.Context, endpoint, mountpoint string, flags *mountFlags, env environment, stdin io.Reader, stdout, stderr io.Writer) error {
	daemon := flags.readyFD != 0
	if daemon {
		// A credential helper may leave a program behind, an agent say, which
		// would hold the pipe that our caller waits for the end of.
		unix.CloseOnExec(flags.readyFD)
	}
	hup := hangups(daemon)
	if err := keepSecrets(); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	collectLessOften()
	logger, closeLog, err := flags.log.open(stderr)
	if err != nil {
		return err
	}
	defer closeLog()
	given, err := readLogin(ctx, flags, env, stdin, stderr)
	if err != nil {
		return err
	}
	source := &lateSource{}
	client, roots, err := flags.client(endpoint, source, logger)
	if err != nil {
		return err
	}
	source.find = (&sources{client.Host(), &flags.authFlags, env.authEnvironment, roots, given}).find
	in := &gate{client: client, source: source, patient: flags.startAnyway, log: logger}
	cacheSize, err := flags.cacheBytes()
	if err != nil {
		return err
	}
	dir, err := prepare(ctx, mountpoint, flags.allowOther, stdout)
	if err != nil {
		return err
	}
	writable, closeAudit, err := flags.writable.open()
	if err != nil {
		return err
	}
	defer closeAudit()
	s, err := openSession(ctx, dir, client, in.ask, cache.Config{
		Dir:    flags.cacheDir,
		Size:   cacheSize,
		Verify: flags.verification(),
		Logger: logger,
	}, fs.Config{
		Logger:       withAdvice(logger, client, source),
		MetadataTTL:  flags.ttl(),
		StaleIfError: flags.staleIfError,
		UID:          flags.uid.id,
		GID:          flags.gid.id,
		AllowOther:   flags.allowOther,
		Writable:     writable,
		Registry:     namedRepositories{client, flags.repositories, in.waiting.Load},
	})
	if err != nil {
		return err
	}
	defer s.logCounters(logger)
	stopDebug, err := serveDebug(ctx, flags.debugListen, s, logger)
	if err != nil {
		return errors.Join(err, s.unmount(), s.close())
	}
	defer stopDebug()

	fmt.Fprintln(stdout, s.line(endpoint, in.who, flags))
	s.background(func(ctx context.Context) { in.keepAsking(ctx, s.mounted.Refresh) })
	var onHangup func()
	if daemon {
		onHangup = s.mounted.Refresh
		if err := letGo(flags.readyFD, flags.log.file); err != nil {
			logger.Warn("the daemon keeps its caller's files", "error", err)
		}
	}
	return s.wait(ctx, hup, onHangup)
}

// client makes the registry client that the flags describe, and returns the
// authorities that it trusts. It does no I/O beyond reading --tls-ca.
func (m *mountFlags) client(endpoint string, source registry.CredentialSource, logger *slog.Logger) (*registry.Client, *x509.CertPool, error) {
	roots, err := readAuthorities("tls-ca", m.tlsCA)
	if err != nil {
		return nil, nil, err
	}
	config := registry.Config{
		Endpoint:     endpoint,
		PlainHTTP:    m.plainHTTP,
		RootCAs:      roots,
		Credentials:  source,
		Logger:       logger,
		UserAgent:    userAgent(),
		ThrottleWait: m.writable.throttleWait,
		RequestRate:  m.requestRate.perSecond(),
	}
	client, err := registry.New(config)
	if err == nil {
		return client, roots, nil
	}
	config.PlainHTTP = true
	if allowed, allowedErr := registry.New(config); allowedErr == nil {
		allowed.Close()
		return nil, nil, usagef("%v with --plain-http", err) // "…, or allow plain http"
	}
	return nil, nil, usagef("%v", err)
}

// readAuthorities returns the system's authorities and those in the PEM file,
// or nil for the system's alone.
func readAuthorities(flag, file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // a machine without any
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, badFlag(flag, file, "a PEM file with at least one certificate")
	}
	return roots, nil
}

// prepare checks all that can be checked before anything is opened, and
// returns the mount point's absolute path. It says so when it repaired one.
func prepare(ctx context.Context, mountpoint string, allowOther bool, stdout io.Writer) (string, error) {
	if err := fs.CheckHost(allowOther); err != nil {
		return "", err
	}
	dir, repaired, err := fs.PrepareMountpoint(ctx, mountpoint)
	if repaired {
		fmt.Fprintf(stdout, "detached the dead mount that a killed acrfs left on %s\n", dir)
	}
	return dir, err
}

// line is what a mount says once it is there.
func (s *session) line(endpoint string, who login, flags *mountFlags) string {
	c := s.cache.Stats()
	passthrough := "no passthrough"
	if s.mounted.Passthrough() {
		passthrough = "passthrough" // the kernel reads cached blobs by itself
	}
	parts := []string{
		who.shown + who.note,
		flags.writable.String(),
		"verify " + flags.verify.chosen,
		passthrough,
		fmt.Sprintf("cache %s with %s of at most %s", flags.cacheDir, formatBytes(c.Stored+c.Partial), formatBytes(c.Limit)),
	}
	return fmt.Sprintf("mounted %s on %s: %s", endpoint, s.dir, strings.Join(parts, ", "))
}
