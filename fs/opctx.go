package fs

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	// How often an interrupted operation looks whether its caller is being
	// killed.
	killPoll = 100 * time.Millisecond
	// How long an operation goes on after a signal to a caller that cannot be
	// looked at. Long enough for one that retries EINTR to get somewhere.
	unseenGrace = 2 * time.Second
)

// opContext is the first line of every operation that can wait. The context it
// returns ends when the mount ends, and when the caller is being killed, with
// errInterrupted as its cause. It has no deadline: what is waited for is
// shared with others and has one of its own.
//
// The kernel's own cancellation is only a hint: it comes for every signal,
// handled ones and the Go runtime's SIGURG included, and a caller that retries
// EINTR would starve if each ended its operation. So it only starts a look at
// whether a fatal signal is pending; then nobody waits for the answer, and the
// process is gone as soon as it has one.
func (t *tree) opContext(kernel context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(t.life)
	if caller, ok := fuse.FromContext(kernel); ok {
		ctx = fuse.NewContext(ctx, caller)
	}
	stop := context.AfterFunc(kernel, func() {
		pid, began := callerOf(kernel), time.Now()
		tick := time.NewTicker(killPoll)
		defer tick.Stop()
		for pid == 0 && time.Since(began) < unseenGrace || pid != 0 && !beingKilled(pid) {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
		cancel(errInterrupted)
	})
	return ctx, func() { stop(); cancel(nil) }
}

// cause replaces a context's bare "canceled" by why it was.
func cause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// callerOf is the thread that asks, 0 for one in a PID namespace that this
// process does not see.
func callerOf(ctx context.Context) uint32 {
	if caller, ok := fuse.FromContext(ctx); ok {
		return caller.Pid
	}
	return 0
}

// beingKilled tells whether thread pid has a fatal signal pending. The kernel
// turns every signal that ends a process into SIGKILL for each of its threads,
// so one bit says it all. A caller that is gone counts as killed.
func beingKilled(pid uint32) bool {
	status, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/status")
	if err != nil {
		return true
	}
	const sigKill = 1 << (9 - 1)
	for line := range bytes.Lines(status) {
		if mask, ok := bytes.CutPrefix(line, []byte("SigPnd:")); ok {
			pending, err := strconv.ParseUint(string(bytes.TrimSpace(mask)), 16, 64)
			return err != nil || pending&sigKill != 0
		}
	}
	return true
}
