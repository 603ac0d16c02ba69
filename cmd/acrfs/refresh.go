package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/acrfs/acrfs/fs"
)

func newRefresh() *cobra.Command {
	return &cobra.Command{
		Use:   "refresh MOUNTPOINT",
		Short: "Forget every listing, so that the next look asks the registry",
		Long: `refresh makes a mount forget what it knows about repositories, tags and
properties, whatever --metadata-ttl says. Content stays cached: it is named by
its digest and never changes. Root may refresh a mount, who mounted it, and the
owner of its files (--uid).`,
		Example: `  acrfs refresh /mnt/acr`,
		Args:    wantArgs(1, 1, "acrfs refresh /mnt/acr"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return refresh(cmd.Context(), args[0])
		},
	}
}

// refreshLimit is far above what a daemon takes that is alive.
const refreshLimit = 15 * time.Second

// refresh waits no longer than ctx and refreshLimit for a mount that hangs.
// The question itself cannot be taken back and ends with the process.
func refresh(ctx context.Context, mountpoint string) error {
	answer := make(chan error, 1)
	go func() { answer <- fs.Refresh(mountpoint) }()
	select {
	case err := <-answer:
		return err
	case <-time.After(refreshLimit):
		return fmt.Errorf("%s: %w within %v", mountpoint, fs.ErrNoAnswer, refreshLimit)
	case <-ctx.Done():
		return ctx.Err()
	}
}
