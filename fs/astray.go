package fs

import (
	"context"
	"os"
	"strconv"
	"strings"

	"github.com/acrfs/acrfs/registry"
)

// permittedDeletion is permitted for what deletes, which a program gone astray
// does not get to do.
//
// What a copying program unlinks is only hidden, and comes back. But rsync
// --delete removes directories as rm -r does, of all that its source lacks: a
// backup that is restored, or one with its arguments swapped, would delete every
// tag that is newer. To the kernel it is no other than rm; only its name tells.
func (t *tree) permittedDeletion(ctx context.Context, action string, ref registry.Ref) error {
	if err := t.permitted(ctx, action, ref); err != nil {
		return err
	}
	if t.writable != nil && callerIs(ctx, "rsync") {
		return t.audit.end(t.audit.entry(ctx, action, ref.String()), outcomeRefused, errMirror)
	}
	return nil
}

// callerIs tells whether the thread that asks has this name. One in a PID
// namespace that this process does not see has none.
func callerIs(ctx context.Context, name string) bool {
	pid := callerOf(ctx)
	if pid == 0 {
		return false
	}
	comm, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/comm")
	return err == nil && strings.TrimSuffix(string(comm), "\n") == name
}
