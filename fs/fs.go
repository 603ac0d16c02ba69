package fs

import (
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	stack "runtime/debug"
	"sync"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/cache"
)

// Config says what is mounted and how. Registry and Cache are required.
type Config struct {
	Registry Registry
	Cache    *cache.Cache
	// Name is shown as the source in the mount table. "": "acrfs".
	Name string
	// Logger gets one record per failed operation. nil: nothing is logged.
	Logger *slog.Logger

	// MetadataTTL bounds how old a listing, a tag's target or a property may
	// be. 0: 10s; negative: nothing is believed longer than it takes to read.
	MetadataTTL time.Duration
	// StaleIfError is how much longer listings are served when the registry
	// does not answer. 0: not at all.
	StaleIfError time.Duration

	// UID and GID own everything. nil: whoever mounts.
	UID, GID *uint32
	// AllowOther lets users other than the mounting one see the mount.
	AllowOther bool
	// Writable lets items be deleted and their flags be set. nil: the mount is
	// read-only, to the kernel and in itself.
	Writable *Writable

	// Debug logs every request of the kernel at debug level.
	Debug bool
}

const (
	defaultTTL = 10 * time.Second
	// With the default of 12, as many stuck cold reads would block every
	// other file of the mount.
	maxBackground = 512
	// How much the kernel reads at once, at most. Splicing 1 MiB fails on
	// some kernels, 512 KiB does not.
	maxRead = 512 << 10
)

// withDefaults fills in what the zero value means.
func (c Config) withDefaults() (Config, error) {
	if c.Registry == nil || c.Cache == nil {
		return c, errors.New("fs: Config.Registry and Config.Cache are required")
	}
	if c.Name == "" {
		c.Name = "acrfs"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.MetadataTTL == 0 {
		c.MetadataTTL = defaultTTL
	}
	c.MetadataTTL = max(c.MetadataTTL, 0)
	if c.UID == nil {
		uid := uint32(os.Getuid())
		c.UID = &uid
	}
	if c.GID == nil {
		gid := uint32(os.Getgid())
		c.GID = &gid
	}
	return c, nil
}

// Mounted is a registry that is mounted. Its methods may be called
// concurrently.
type Mounted struct {
	tree       *tree
	server     *fuse.Server
	mountpoint string
	finish     sync.Once
}

// Mount mounts a registry on an empty directory and returns when the mount
// answers. It does not ask the registry anything.
func Mount(mountpoint string, cfg Config) (*Mounted, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	mountpoint, err = filepath.Abs(mountpoint)
	if err != nil {
		return nil, err
	}
	t := newTree(cfg)
	t.mountpoint = mountpoint
	server, err := serve(mountpoint, t.root, mountOptions(cfg))
	if err != nil {
		t.life.close()
		return nil, fmt.Errorf("mount %s: %w", mountpoint, err)
	}
	var root unix.Stat_t
	if unix.Lstat(mountpoint, &root) == nil {
		t.device.Store(root.Dev)
		raiseReadAhead(root.Dev)
	}
	t.passthrough.Store(canPassThrough(server, cfg.Cache))
	return &Mounted{tree: t, server: server, mountpoint: mountpoint}, nil
}

// serve mounts a tree and answers the kernel from then on.
func serve(mountpoint string, root fusefs.InodeEmbedder, options *fusefs.Options) (*fuse.Server, error) {
	server, err := fuse.NewServer(seeking{fusefs.NewNodeFS(root, options)}, mountpoint, &options.MountOptions)
	if err != nil {
		return nil, err
	}
	go server.Serve()
	return server, server.WaitMount()
}

// mountOptions: the entry and attribute timeouts of the options stay nil,
// because go-fuse would put them wherever a node answers "not at all".
func mountOptions(cfg Config) *fusefs.Options {
	debug := log.New(logWriter{cfg.Logger}, "", 0)
	options, flags := []string{"default_permissions"}, uintptr(syscall.MS_NOSUID|syscall.MS_NODEV)
	if cfg.Writable == nil {
		options, flags = append(options, "ro"), flags|syscall.MS_RDONLY
	}
	return &fusefs.Options{
		NullPermissions: true,
		Logger:          debug,
		RootStableAttr:  &fusefs.StableAttr{Ino: 1},
		MountOptions: fuse.MountOptions{
			Name:              "acrfs",
			FsName:            cfg.Name,
			Options:           options,
			DirectMount:       true,
			DirectMountFlags:  flags,
			AllowOther:        cfg.AllowOther,
			MaxBackground:     maxBackground,
			MaxWrite:          maxRead,
			MaxReadAhead:      maxRead,
			Debug:             cfg.Debug,
			Logger:            debug,
			ExtraCapabilities: fuse.CAP_READDIRPLUS_AUTO,
			PanicHandler: func(problem any) fuse.Status {
				cfg.Logger.Error("panic", "problem", fmt.Sprint(problem), "stack", string(stack.Stack()))
				return fuse.EIO
			},
		},
	}
}

// logWriter takes go-fuse's own lines into the log.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(line []byte) (int, error) {
	w.log.Debug("fuse", "line", string(line))
	return len(line), nil
}

// Wait returns when the mount has ended, by whomever, and all that it had
// running has too.
func (m *Mounted) Wait() {
	m.server.Wait()
	m.finish.Do(m.tree.life.close)
}

// Unmount ends the mount. The error is EBUSY by errors.Is while something is
// open in it.
func (m *Mounted) Unmount() error {
	if err := Unmount(m.mountpoint); err != nil {
		return err
	}
	m.Wait()
	return nil
}

// UnmountLazily takes the mount out of the tree at once; what is still open in
// it works until this process ends.
func (m *Mounted) UnmountLazily() error { return UnmountLazily(m.mountpoint) }

// Refresh forgets every listing and property, so that the next look at the
// tree asks the registry.
func (m *Mounted) Refresh() { m.tree.refresh() }

// Passthrough tells whether the kernel reads cached blobs by itself.
func (m *Mounted) Passthrough() bool { return m.tree.passthrough.Load() }

// Stats is a snapshot of the counters.
func (m *Mounted) Stats() Stats { return m.tree.stats.snapshot() }
