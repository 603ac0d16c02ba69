package main

import (
	"github.com/spf13/cobra"

	"github.com/acrfs/acrfs/fs"
)

func newRefresh() *cobra.Command {
	return &cobra.Command{
		Use:   "refresh MOUNTPOINT",
		Short: "Forget every listing, so that the next look asks the registry",
		Long: `refresh makes a mount forget what it knows about repositories, tags and
properties, whatever --metadata-ttl says. Content stays cached: it is named by
its digest and never changes.`,
		Example: `  acrfs refresh /mnt/acr`,
		Args:    wantArgs(1, 1, "acrfs refresh /mnt/acr"),
		RunE: func(_ *cobra.Command, args []string) error {
			return fs.Refresh(args[0])
		},
	}
}
