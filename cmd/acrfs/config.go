package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/cache"
	"github.com/acrfs/acrfs/registry/localacr"
)

// This file and config_*.go declare the flags and read the environment; nothing
// else does, but for umount's one flag, and for what helpers inherit (invoker.go).

// environment is what the process inherits that matters to us.
type environment struct {
	username  string // ACRFS_USERNAME
	password  string // ACRFS_PASSWORD
	cacheHome string // where this user's caches are
	dataHome  string // where this user's data is
	authEnvironment
}

// passwordVariable is for us alone, see keepSecrets.
const passwordVariable = "ACRFS_PASSWORD"

func readEnvironment() environment {
	auth := readAuthEnvironment()
	e := environment{
		username:  os.Getenv("ACRFS_USERNAME"),
		password:  os.Getenv(passwordVariable),
		cacheHome: absoluteOr(os.Getenv("XDG_CACHE_HOME"), filepath.Join(auth.userHome, ".cache")),
		dataHome:  absoluteOr(os.Getenv("XDG_DATA_HOME"), filepath.Join(auth.userHome, ".local", "share")),

		authEnvironment: auth,
	}
	if os.Geteuid() == 0 {
		// Mounts of root's are the system's; sudo keeps the user's home, where
		// files of root would be in the user's way.
		e.cacheHome = "/var/cache"
	}
	return e
}

// absoluteOr returns dir, or fallback where dir is not absolute: the XDG base
// directory specification wants relative ones ignored.
func absoluteOr(dir, fallback string) string {
	if filepath.IsAbs(dir) {
		return dir
	}
	return fallback
}

// logFlags say what is logged, and where to.
type logFlags struct {
	level  choiceValue
	format choiceValue
	file   string
}

// bind declares the flags; level and otherwise say what is logged by default, and
// where to.
func (l *logFlags) bind(flags *pflag.FlagSet, level, otherwise string) {
	l.level = choice("debug", "info", "warn", "error")
	l.level.chosen = level
	l.format = choice("text", "json")
	flags.Var(&l.level, "log-level", "what to log at least")
	flags.Var(&l.format, "log-format", "how to write each record")
	flags.StringVar(&l.file, "log-file", "", "append the log to this `file` (default "+otherwise+")")
}

// mountFlags are the flags of mount.
type mountFlags struct {
	log logFlags

	cacheDir     string
	cacheSize    sizeValue
	verify       choiceValue
	metadataTTL  time.Duration
	staleIfError time.Duration
	requestRate  requestsValue

	allowOther bool
	uid, gid   idValue

	writable writableFlags

	plainHTTP     bool
	tlsCA         string
	username      string
	passwordStdin bool
	authFlags

	daemon      bool
	readyFD     int // of the daemon itself: where to report; 0 elsewhere
	debugListen string
}

func (m *mountFlags) bind(flags *pflag.FlagSet, env environment) {
	flags.SortFlags = false
	flags.StringVar(&m.username, "username", "", "log in as this `user` (default $ACRFS_USERNAME)")
	flags.BoolVar(&m.passwordStdin, "password-stdin", false, "read the password from stdin (default $ACRFS_PASSWORD, else it is asked for at a terminal)")
	m.authFlags.bind(flags)
	flags.BoolVar(&m.plainHTTP, "plain-http", false, "allow http:// to hosts other than this one (default no: everything there can be read on the way)")
	flags.StringVar(&m.tlsCA, "tls-ca", "", "trust the authorities in this PEM `file` besides the system's")

	flags.DurationVar(&m.metadataTTL, "metadata-ttl", 10*time.Second, "how old a listing, a tag's target or a property may be; 0s asks every time")
	flags.DurationVar(&m.staleIfError, "stale-if-error", 0, "how much longer listings are served while the registry cannot be reached (default 0s)")
	flags.Var(&m.requestRate, "request-rate", "how many requests the registry gets, like 50 a second or 900/min (default as many as there are, until it throttles; then as many as it takes)")
	m.verify = choice("stream", "strict")
	flags.Var(&m.verify, "verify", "blobs above 8 MiB: stream serves them while they download and withholds the end until the digest matched; strict serves nothing before")

	flags.StringVar(&m.cacheDir, "cache-dir", filepath.Join(env.cacheHome, "acrfs"), "keep downloaded content in this `directory`")
	flags.Var(&m.cacheSize, "cache-size", "keep at most this much, like 500M, 10GiB or 20% of the free disk (default min(10GiB, 20%))")

	m.writable.bind(flags)

	flags.BoolVar(&m.allowOther, "allow-other", false, "let other users in, who may read everything (default only who mounts)")
	flags.Var(&m.uid, "uid", "show files as owned by this user (default who mounts)")
	flags.Var(&m.gid, "gid", "show files as owned by this group (default that of who mounts)")

	flags.BoolVar(&m.daemon, "daemon", false, "return once the mount is usable and serve it in the background; SIGHUP then refreshes (default foreground)")
	m.log.bind(flags, "info", "stderr; with --daemon nowhere")
	flags.StringVar(&m.debugListen, "debug-listen", "", "serve counters and profiles on this loopback `address`, like 127.0.0.1:6060 (default off)")

	flags.IntVar(&m.readyFD, "ready-fd", 0, "")
	flags.MarkHidden("ready-fd")
}

// check finds what is wrong with the flags beyond each one's own value, and
// makes paths absolute, since a daemon leaves the directory it was started in.
func (m *mountFlags) check(flags *pflag.FlagSet) error {
	for name, d := range map[string]time.Duration{"metadata-ttl": m.metadataTTL, "stale-if-error": m.staleIfError} {
		if d < 0 {
			return badFlag(name, d.String(), "a duration that is not negative")
		}
	}
	if m.debugListen != "" && !isLoopback(m.debugListen) {
		return badFlag("debug-listen", m.debugListen, "a loopback address with a port, like 127.0.0.1:6060: profiles are not for the network")
	}
	if m.cacheDir == "" {
		return badFlag("cache-dir", "", "a directory")
	}
	if err := m.authFlags.check(m.username != "", m.passwordStdin); err != nil {
		return err
	}
	if err := m.writable.check(flags); err != nil {
		return err
	}
	return absolute(&m.cacheDir, &m.tlsCA, &m.log.file, &m.writable.auditLog)
}

// ttl is --metadata-ttl in the words of fs.Config, where 0 is the default.
func (m *mountFlags) ttl() time.Duration {
	if m.metadataTTL == 0 {
		return -1
	}
	return m.metadataTTL
}

// verification is --verify in the cache's terms.
func (m *mountFlags) verification() cache.Verify {
	if m.verify.chosen == "strict" {
		return cache.VerifyStrict
	}
	return cache.VerifyStream
}

// cacheBytes is --cache-size in bytes; 0 leaves it to the cache's default.
func (m *mountFlags) cacheBytes() (int64, error) {
	if m.cacheSize.percent == 0 {
		return m.cacheSize.bytes, nil
	}
	// The directory need not be there yet; its disk is that of the nearest
	// parent that is.
	for dir := m.cacheDir; ; dir = filepath.Dir(dir) {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		if err == nil {
			free := float64(st.Bavail) * float64(st.Bsize)
			return max(1, int64(free*m.cacheSize.percent/100)), nil
		}
		if err != unix.ENOENT || dir == "/" {
			return 0, fmt.Errorf("--cache-size %s: free space of %s: %w", &m.cacheSize, dir, err)
		}
	}
}

// demoFlags are the flags of demo.
type demoFlags struct {
	log    logFlags
	listen string
}

func (d *demoFlags) bind(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVar(&d.listen, "listen", "127.0.0.1:0", "where the registry listens, a loopback `address`; port 0 takes a free one")
	d.log.bind(flags, "warn", "stderr")
}

func (d *demoFlags) check() error {
	if !isLoopback(d.listen) {
		return badFlag("listen", d.listen, "a loopback address with a port, like 127.0.0.1:5000: the demo's registry lets everyone do everything")
	}
	return absolute(&d.log.file)
}

// serveFlags are the flags of serve.
type serveFlags struct {
	log logFlags

	root    string
	listen  string
	name    string
	seed    bool
	imports []string

	auth      choiceValue
	issuer    issuerFlags
	users     string
	tokenLife time.Duration
	readOnly  bool

	tlsCert, tlsKey string
	tlsSelfSigned   string

	directBlobs bool
	storageHost string
	latency     time.Duration
	bandwidth   rateValue
	throttle    requestsValue
	listLag     time.Duration

	gc bool
}

func (s *serveFlags) bind(flags *pflag.FlagSet, env environment) {
	flags.SortFlags = false
	flags.StringVar(&s.root, "root", filepath.Join(env.dataHome, "acrfs", "registry"), "keep the registry's data in this `directory`")
	flags.StringVar(&s.listen, "listen", "127.0.0.1:5000", "listen on this `address`; port 0 takes a free one")
	flags.BoolVar(&s.seed, "seed", false, "put the demo's sample artifacts in place (default no)")
	flags.StringArrayVar(&s.imports, "import", nil, "take in an OCI image layout, a folder or a tar `archive`, as a repository of its name; can be repeated")

	s.auth = choice("open", "anonymous", "basic", "entra")
	flags.Var(&s.auth, "auth", "open challenges and then lets everyone do everything; anonymous lets everyone pull; basic lets in only --users; entra lets in Microsoft Entra's identities, too")
	s.issuer.bind(flags)
	flags.StringVar(&s.users, "users", "", "who may log in, a JSON `file` of names, passwords or Entra ids, and scope maps")
	flags.DurationVar(&s.tokenLife, "token-life", 0, "how long tokens live (default as ACR's: 3h, 60m, anonymous 5m)")
	flags.BoolVar(&s.readOnly, "read-only", false, "refuse every change (default no)")

	flags.StringVar(&s.tlsCert, "tls-cert", "", "serve https with the certificate in this PEM `file`")
	flags.StringVar(&s.tlsKey, "tls-key", "", "and its key in this PEM `file`")
	flags.StringVar(&s.tlsSelfSigned, "tls-self-signed", "", "serve https with a certificate of our own authority, kept in this `directory`; clients trust its ca.pem")

	flags.StringVar(&s.name, "name", "", "the login `server` that answers and tokens name (default the host of each request)")
	flags.BoolVar(&s.directBlobs, "direct-blobs", false, "answer blobs directly (default as ACR: redirect to a signed URL)")
	flags.StringVar(&s.storageHost, "storage-host", "", "`host` of the signed URLs (default localhost when called 127.0.0.1, else the same)")
	flags.DurationVar(&s.latency, "latency", 0, "delay every answer by this much (default 0s)")
	flags.Var(&s.bandwidth, "bandwidth", "send and take at most this much per second and connection, like 25MiB (default without limit)")
	flags.Var(&s.throttle, "throttle", "answer more requests than these with 429, like 1000/min or 20 a second (default none; ACR's tiers take 1000, 3000 and 10000/min)")
	flags.DurationVar(&s.listLag, "list-lag", 0, "show in lists what was there this long ago, as ACR may (default 0s)")

	flags.BoolVar(&s.gc, "gc", false, "remove blobs that no manifest needs, now and every hour (default only on SIGUSR1)")
	s.log.bind(flags, "info", "stderr")
}

func (s *serveFlags) check(flags *pflag.FlagSet) error {
	if _, port, err := net.SplitHostPort(s.listen); err != nil || port == "" {
		return badFlag("listen", s.listen, wanted["address"])
	}
	for name, d := range map[string]time.Duration{"token-life": s.tokenLife, "latency": s.latency, "list-lag": s.listLag} {
		if d < 0 {
			return badFlag(name, d.String(), "a duration that is not negative")
		}
	}
	switch {
	case s.root == "":
		return badFlag("root", "", "a directory")
	case (s.tlsCert == "") != (s.tlsKey == ""):
		return usagef("--tls-cert and --tls-key belong together: give both, or --tls-self-signed DIR")
	case s.tlsCert != "" && s.tlsSelfSigned != "":
		return usagef("--tls-self-signed %q: not together with --tls-cert and --tls-key", s.tlsSelfSigned)
	case s.auth.chosen == string(localacr.AuthBasic) && s.users == "":
		return usagef("--auth basic needs --users FILE: without it nobody gets in")
	case s.auth.chosen == string(localacr.AuthOpen) && s.users != "":
		return usagef("--users FILE needs --auth basic, anonymous or entra: open lets in everyone")
	}
	for name, host := range map[string]string{"name": s.name, "storage-host": s.storageHost} {
		if host != "" && !localacr.ValidHost(host) {
			return badFlag(name, host, "a host, or a host and a port like registry.example:443")
		}
	}
	if err := s.issuer.check(flags, s.auth.chosen); err != nil {
		return err
	}
	if strings.HasPrefix(s.issuer.keys, "http://") {
		return badFlag("entra-keys", s.issuer.keys, "an https URL or a file: whoever changes the keys on the way gets in")
	}
	if !strings.Contains(s.issuer.keys, "://") {
		if err := absolute(&s.issuer.keys); err != nil {
			return err
		}
	}
	return absolute(&s.root, &s.users, &s.tlsCert, &s.tlsKey, &s.tlsSelfSigned, &s.issuer.keysCA, &s.log.file)
}

// absolute makes the paths that are set absolute.
func absolute(paths ...*string) error {
	for _, p := range paths {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}

// isLoopback reports whether address is host:port on this machine only.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
