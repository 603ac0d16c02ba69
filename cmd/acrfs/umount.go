package main

import (
	"errors"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/acrfs/acrfs/fs"
)

func newUmount() *cobra.Command {
	var lazy bool
	cmd := &cobra.Command{
		Use:     "umount MOUNTPOINT",
		Aliases: []string{"unmount"},
		Short:   "Unmount, and say who keeps it busy",
		Long: `umount takes a mount away, and the acrfs behind it ends. It works on the mount of
an acrfs that was killed or hangs, too. When someone uses the mount it stays as
it is, and the exit status is 1.`,
		Example: `  acrfs umount /mnt/acr
  acrfs umount --lazy /mnt/acr     even when it is in use`,
		Args: wantArgs(1, 1, "acrfs umount /mnt/acr"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if lazy {
				return fs.UnmountLazily(args[0])
			}
			err := fs.Unmount(args[0])
			if errors.Is(err, syscall.EBUSY) {
				return &busyError{dir: args[0], holders: fs.Holders(cmd.Context(), args[0])}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&lazy, "lazy", false, "take it out of the tree at once; who uses it may finish (default no)")
	return cmd
}
