package main

import (
	"errors"
	"os"
	"path/filepath"
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
		Long: `umount takes a mount away, and the acrfs behind it ends. It works on the mount
of an acrfs that was killed or hangs, too. When someone uses the mount it stays
as it is, and the exit status is 1.`,
		Example: `  acrfs umount /mnt/acr
  acrfs umount --lazy /mnt/acr     even when it is in use`,
		Args: wantArgs(1, 1, "acrfs umount /mnt/acr"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := stepOut(args[0])
			if err != nil {
				return err
			}
			if lazy {
				return fs.UnmountLazily(dir)
			}
			err = fs.Unmount(dir)
			if errors.Is(err, syscall.EBUSY) {
				return &busyError{dir: dir, holders: fs.Holders(cmd.Context(), dir)}
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&lazy, "lazy", "l", false, "take it out of the tree at once; who uses it may finish (default no)")
	return cmd
}

// stepOut leaves dir if this process works in it, so that it is not the one who
// keeps the mount busy. It returns a name for dir that is good from elsewhere.
func stepOut(dir string) (string, error) {
	here, err := os.Getwd()
	if err != nil {
		return dir, nil // in a directory that is gone
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if below, err := filepath.Rel(absolute, here); err != nil || !filepath.IsLocal(below) {
		return dir, nil
	}
	return absolute, os.Chdir("/")
}
