package fs

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
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
//
// It comes as well, for all operations, when the connection to the kernel is
// aborted. go-fuse waits for them before it says so: the mount's life has to end
// here.
func (t *tree) opContext(kernel context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(t.life.ctx)
	if caller, ok := fuse.FromContext(kernel); ok {
		ctx = fuse.NewContext(ctx, caller)
	}
	stop := context.AfterFunc(kernel, func() {
		pid, began := callerOf(kernel), time.Now()
		tick := time.NewTicker(killPoll)
		defer tick.Stop()
		for pid == 0 && time.Since(began) < unseenGrace || pid != 0 && !beingKilled(pid) {
			if t.aborted() {
				t.life.end()
				return
			}
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

// aborted tells whether the mount's connection is gone while the mount is still in
// sight. One that is there answers at once, whatever it waits for otherwise. Of a
// mount that was taken out of the tree nobody can tell: what is at its path now is
// another.
func (t *tree) aborted() bool {
	var root unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, t.mountpoint, unix.AT_STATX_FORCE_SYNC|unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MODE, &root)
	if !disconnected(err) {
		return false
	}
	mounts, err := readMounts()
	top, mounted := topMount(mounts, t.mountpoint)
	return err == nil && mounted && top.device == deviceNumber(t.device.Load())
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

// beingKilled tells whether thread pid has a signal pending that ends it. A
// caller that is gone counts as killed.
func beingKilled(pid uint32) bool {
	status, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/status")
	return err != nil || fatalPending(status)
}

// fatalPending reads a thread's status as the proc file system shows it.
//
// The kernel turns a signal that ends a process into SIGKILL for each of its
// threads, so that one bit says it. Only those that dump core (Ctrl-\) stay
// what they are, and end whoever neither catches, ignores nor blocks them.
func fatalPending(status []byte) bool {
	const (
		kill  = 1 << (unix.SIGKILL - 1)
		cores = 1<<(unix.SIGQUIT-1) | 1<<(unix.SIGILL-1) | 1<<(unix.SIGTRAP-1) | 1<<(unix.SIGABRT-1) |
			1<<(unix.SIGFPE-1) | 1<<(unix.SIGSEGV-1) | 1<<(unix.SIGBUS-1) | 1<<(unix.SIGSYS-1) |
			1<<(unix.SIGXCPU-1) | 1<<(unix.SIGXFSZ-1)
	)
	masks := make(map[string]uint64)
	for line := range bytes.Lines(status) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch string(name) {
		case "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt":
			mask, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
			if err != nil {
				return true
			}
			masks[string(name)] = mask
		}
	}
	pending := masks["SigPnd"] | masks["ShdPnd"]
	unhandled := pending &^ (masks["SigBlk"] | masks["SigIgn"] | masks["SigCgt"])
	return pending&kill != 0 || unhandled&cores != 0
}
