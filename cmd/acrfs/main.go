package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1 // failed, or busy
	exitUsage  = 2
)

// sameSignal is how long a further signal is the first one again: timeout(1)
// signals us and then our group, and a hand on Ctrl-C comes down twice. Ended in
// the middle, we would leave a dead mount.
const sameSignal = time.Second

func main() {
	// A write to a pipe whose reader left is an error like any other, not our
	// end: a mount would stay behind.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	// SIGHUP means different things to a mount in the foreground and a daemon,
	// see mount.go.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// The first signal ends us in order, one that comes later at once.
	context.AfterFunc(ctx, func() { time.AfterFunc(sameSignal, stop) })
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program: it returns the exit status for the given arguments. It
// ends early, and in order, when ctx does.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	var ended *childError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &ended):
		return ended.status // it has said why by itself
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		err = errors.New("interrupted")
	}
	fmt.Fprintf(stderr, "%s: %v\n", cmd.CommandPath(), oneLine(err))
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "acrfs",
		Short: "Mount a container registry as a directory tree",
		Long: `acrfs mounts an Azure Container Registry, or any OCI registry, as a directory
tree: repositories are directories, tags are directories in them, and manifests,
configs and layers are files with exact bytes and sizes.`,
		Example: `  acrfs demo                                   try it: samples, mounted
  acrfs mount myregistry.azurecr.io /mnt/acr   mount a registry
  acrfs umount /mnt/acr                        and let go of it`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		// An error is one line, printed by run.
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(flagError)
	root.InitDefaultHelpFlag()
	root.Version = versionLine() // makes --version
	root.SetVersionTemplate("{{.Version}}\n")
	root.InitDefaultVersionFlag()
	root.SetUsageFunc(usage)
	root.SetHelpCommand(newHelp())
	root.AddCommand(newMount(), newUmount(), newRefresh(), newDemo(), newServe(), newVersion())
	return root
}

// newHelp replaces the flag library's own, which takes any word.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Explain a command",
		Args:  wantArgs(0, 1, "acrfs help mount"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Root().Help()
			}
			about, _, err := cmd.Root().Find(args)
			if err != nil || about == cmd.Root() {
				return unknownCommand(cmd.Root(), args[0])
			}
			return about.Help()
		},
	}
}
