package fs

import (
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
)

// fullDisk is an audit log that takes no lines while it is full.
type fullDisk struct {
	lockedBuffer
	full atomic.Bool
}

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.full.Load() {
		return 0, syscall.ENOSPC
	}
	return d.lockedBuffer.Write(p)
}

func TestNothingIsChangedWithoutItsLine(t *testing.T) {
	var auditLog fullDisk
	w := mounted(t, Config{Writable: &Writable{Audit: &auditLog, MaxDeletes: 1}})
	auditLog.full.Store(true)
	w.fails("rm -r $R/_tags/v2", "Input/output error")
	w.fails("setfattr -n user.acr.can_write -v false $R/_tags/v2", "Input/output error")
	if n := w.requests(http.MethodDelete) + w.requests(http.MethodPatch); n != 0 {
		t.Errorf("%d changes were sent", n)
	}
	auditLog.full.Store(false)
	w.run("ls $R/_tags/v2/manifest.json && rm -r $R/_tags/v2") // what was refused does not count
}
