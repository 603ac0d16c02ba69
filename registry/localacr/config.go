package localacr

import (
	"fmt"
	"log/slog"
	"regexp"
	"time"
)

// AuthMode is how a registry tells friend from stranger.
type AuthMode string

const (
	// AuthOpen challenges like every other mode, and then lets everyone do
	// everything.
	AuthOpen AuthMode = "open"
	// AuthAnonymous is ACR's "anonymous pull": everyone may read, and only
	// Config.Users may change anything.
	AuthAnonymous AuthMode = "anonymous"
	// AuthBasic lets in Config.Users and nobody else.
	AuthBasic AuthMode = "basic"
	// AuthEntra lets in identities of Microsoft Entra, whose tokens it checks,
	// and Config.Users.
	AuthEntra AuthMode = "entra"
)

// Config says what registry to open. Only Root has to be set.
type Config struct {
	// Root is the data directory. It is created with mode 0700 if absent and
	// belongs to one Server at a time.
	Root string

	// Name is the login server's name, as bodies ("registry") and tokens
	// ("aud") show it. Empty: the Host of each request.
	Name string

	// Logger gets one line per request at debug level. Nil: nothing is logged.
	Logger *slog.Logger

	// Auth is the way in. Empty: AuthOpen.
	Auth AuthMode

	// Users may log in with name and password, see ReadUsers. AuthOpen takes
	// every name and password and does not look here.
	Users []User

	// Entra is whose tokens AuthEntra takes. Its Keys have to be set then.
	Entra Entra

	// TokenLife is how long refresh and access tokens live. Zero: as ACR's,
	// which is 3 hours, 60 minutes, and 5 minutes for anonymous ones.
	TokenLife time.Duration

	// DirectBlobs serves blobs at once instead of redirecting to a signed URL.
	DirectBlobs bool

	// StorageHost is the host, or host:port, of the signed URLs. Empty:
	// localhost for a registry called 127.0.0.1, the same host otherwise.
	// Storage on a host apart from the registry's refuses requests with a
	// token, so that a client that sends its one along is found out.
	StorageHost string

	// NoReferrers leaves the referrers API out, as ACR does where the customer
	// manages the keys: clients keep lists of referrers themselves then, under
	// tags.
	NoReferrers bool

	// ReadOnly refuses every change that arrives over HTTP.
	ReadOnly bool

	// Latency delays every answer. Bandwidth limits what each connection
	// carries of bodies, in bytes per second and direction; the requests of an
	// HTTP/2 connection share it. Zero: neither.
	Latency   time.Duration
	Bandwidth int64

	// Throttle is how many requests are answered in each ThrottleSpan, those
	// for signed URLs left out; the rest get a 429 that says when the next one
	// begins. ACR's tiers take 1,000, 3,000 and 10,000 reads a minute. Zero:
	// any number; a ThrottleSpan of zero is a minute.
	Throttle     int
	ThrottleSpan time.Duration

	// ListLag shows lists as they would have been that long ago, as ACR's may
	// be after a push or a deletion. Whoever asks for one thing by its name
	// sees it as it is. Zero: lists do not lag.
	ListLag time.Duration

	// Faults are deliberate misbehaviours, see Faults. Nil: none.
	Faults *Faults

	// CollectAfter is how long a blob that no manifest refers to is kept
	// after a client last touched it, since a push may be about to need it.
	// Zero: one hour.
	CollectAfter time.Duration

	// CollectEvery is how often Collect is called by itself, for the first
	// time at the start. Zero: never.
	CollectEvery time.Duration
}

// check returns cfg with its defaults filled in.
func (cfg Config) check() (Config, error) {
	if cfg.Root == "" {
		return cfg, fmt.Errorf("localacr: Root is empty; it names the data directory")
	}
	switch cfg.Auth {
	case "":
		cfg.Auth = AuthOpen
	case AuthOpen, AuthAnonymous, AuthBasic:
	case AuthEntra:
		if cfg.Entra.Keys == nil {
			return cfg, fmt.Errorf("localacr: auth mode entra without keys lets nobody in")
		}
	default:
		return cfg, fmt.Errorf("localacr: unknown auth mode %q; want open, anonymous, basic or entra", cfg.Auth)
	}
	if cfg.Auth == AuthBasic && len(cfg.Users) == 0 {
		return cfg, fmt.Errorf("localacr: auth mode basic without users lets nobody in")
	}
	for _, u := range cfg.Users {
		if err := u.check(); err != nil {
			return cfg, err
		}
	}
	for _, host := range []string{cfg.Name, cfg.StorageHost} {
		if host != "" && !ValidHost(host) {
			return cfg, fmt.Errorf("localacr: %q; want host or host:port", host)
		}
	}
	if cfg.TokenLife < 0 || cfg.Latency < 0 || cfg.Bandwidth < 0 || cfg.CollectAfter < 0 || cfg.CollectEvery < 0 || cfg.ListLag < 0 || cfg.Throttle < 0 || cfg.ThrottleSpan < 0 {
		return cfg, fmt.Errorf("localacr: negative TokenLife, Latency, Bandwidth, CollectAfter, CollectEvery, ListLag, Throttle or ThrottleSpan")
	}
	if cfg.ThrottleSpan == 0 {
		cfg.ThrottleSpan = time.Minute
	}
	if cfg.CollectAfter == 0 {
		cfg.CollectAfter = time.Hour
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg, nil
}

var hostGrammar = regexp.MustCompile(`^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$`)

// ValidHost reports whether s is a host or host:port, as Name and StorageHost
// have to be.
func ValidHost(s string) bool { return hostGrammar.MatchString(s) }
