package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/acrfs/acrfs/cache"
	"github.com/acrfs/acrfs/fs"
	"github.com/acrfs/acrfs/registry"
	"github.com/acrfs/acrfs/registry/localacr"
)

func newDemo() *cobra.Command {
	var flags demoFlags
	cmd := &cobra.Command{
		Use:   "demo [MOUNTPOINT]",
		Short: "Try it: a local registry with sample artifacts, mounted",
		Long: `demo starts a registry on this machine, fills it with a few sample artifacts
and mounts it, by default on a fresh directory. Ctrl-C unmounts it and leaves
nothing behind.`,
		Example: `  acrfs demo
  acrfs demo --listen 127.0.0.1:5000 /mnt/demo`,
		Args: wantArgs(0, 1, "acrfs demo [MOUNTPOINT]"),
	}
	flags.bind(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := flags.check(); err != nil {
			return err
		}
		mountpoint := ""
		if len(args) == 1 {
			mountpoint = args[0]
		}
		return demo(cmd.Context(), mountpoint, &flags, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// demoStop is how long the demo's registry may take over its last requests;
// they are all our own mount's, which is gone by then.
const demoStop = 2 * time.Second

// demo runs a seeded registry and mounts it until ctx ends, SIGHUP arrives or
// someone unmounts it.
func demo(ctx context.Context, mountpoint string, flags *demoFlags, stdout, stderr io.Writer) (err error) {
	hup := hangups(false)
	logger, closeLog, err := flags.log.open(stderr)
	if err != nil {
		return err
	}
	defer closeLog()
	room, err := makeDemoRoom(mountpoint)
	if err != nil {
		return err
	}
	served := false
	defer func() {
		err = errors.Join(err, room.remove())
		if served && err == nil {
			fmt.Fprintln(stdout, "\nunmounted; nothing is left behind")
		}
	}()
	dir, err := prepare(ctx, room.mountpoint, false, stdout)
	if err != nil {
		return err
	}

	server, err := localacr.Open(localacr.Config{Root: filepath.Join(room.dir, "registry"), Logger: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if err := server.Seed(ctx); err != nil {
		return fmt.Errorf("fill the demo's registry: %w", err)
	}
	web, err := listen(ctx, "listen", flags.listen, server, nil, logger)
	if err != nil {
		return err
	}
	defer web.stop(demoStop)

	client, err := registry.New(registry.Config{Endpoint: web.url(), Logger: logger, UserAgent: userAgent()})
	if err != nil {
		return err
	}
	s, err := openSession(ctx, dir, client, client.Ping,
		cache.Config{Dir: filepath.Join(room.dir, "cache"), Logger: logger},
		fs.Config{Logger: logger, Registry: client})
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, demoText, web.url(), dir, strings.Join(demoCommands(dir), "\n  "))
	served = true
	err = s.wait(ctx, hup, nil)
	// Being in use is no failure of a demo that leaves nothing behind.
	if busy := (*busyError)(nil); errors.As(err, &busy) && busy.detached {
		fmt.Fprintln(stderr, busy)
		err = nil
	}
	return err
}

// demoCommands are worth trying, in a shell, with nothing but what every
// system has.
func demoCommands(dir string) []string {
	d := shellWord(dir)
	r := shellWord(filepath.Join(dir, "library", "hello-world"))
	return []string{
		fmt.Sprintf("(cd %s && find . -name '_*' -prune -name _tags -printf '%%h\\n')", d),
		fmt.Sprintf("ls -l %s/_tags", r),
		fmt.Sprintf("cat %s/_tags/latest/manifest.json", r),
		fmt.Sprintf("for l in %s/_tags/latest/manifests/linux-amd64/*.tar.gz; do tar -tvzf \"$l\"; done", r),
		fmt.Sprintf("du -sh %s", d),
	}
}

// demoText is what a demo says: the registry's URL, the mount point, the
// commands.
const demoText = `A registry with sample artifacts runs at %s
and is mounted, read-only, on

  %s

Worth trying in another terminal:

  %s

Anything pushed there appears (docker, oras, skopeo; no login needed).
Ctrl-C unmounts it and leaves nothing behind.
`
