package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/integration/fixture"
)

// xattrCall is a system call on an attribute with sizes that package unix would
// not let through. size is what the kernel is told, whatever the buffer is.
func xattrCall(number uintptr, path, name string, value []byte, size, flags int) string {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err.Error()
	}
	n, err := unix.BytePtrFromString(name)
	if err != nil {
		return err.Error()
	}
	var buffer unsafe.Pointer
	if len(value) > 0 {
		buffer = unsafe.Pointer(&value[0])
	}
	var got uintptr
	var errno unix.Errno
	if number == unix.SYS_LLISTXATTR {
		got, _, errno = unix.Syscall(number, uintptr(unsafe.Pointer(p)), uintptr(buffer), uintptr(size))
	} else {
		got, _, errno = unix.Syscall6(number, uintptr(unsafe.Pointer(p)), uintptr(unsafe.Pointer(n)), uintptr(buffer), uintptr(size), uintptr(flags), 0)
	}
	if errno != 0 {
		return unix.ErrnoName(errno)
	}
	return fmt.Sprintf("%d %q", got, strings.TrimRight(string(value[:min(int(got), len(value))]), "\x00"))
}

// TestAttributesAnswerAsThoseOfALocalFileSystem makes the same calls on a flag
// and on an attribute of a local directory.
func TestAttributesAnswerAsThoseOfALocalFileSystem(t *testing.T) {
	local := openDir(t)
	const name = "user.acr.can_write"
	if err := unix.Lsetxattr(local, name, []byte("true"), 0); err != nil {
		t.Skipf("no attributes of users in %s: %v", os.TempDir(), err)
	}
	s := newLocalACR(t)
	chart := fixture.Chart("1")
	push(t, s, "app", "v1", chart)
	m := mountServer(t, s, "--writable")
	for _, path := range []string{m.path("app"), m.tagDir("app", "v1"), m.manifestDir("app", chart.Digest)} {
		same := func(what string, call func(path string) string) {
			t.Helper()
			if diff := cmp.Diff(call(local), call(path)); diff != "" {
				t.Errorf("%s of %s (-local +here):\n%s", what, path, diff)
			}
		}
		for _, size := range []int{0, 1, 3, 4, 5, 64, 64 << 10, 64<<10 + 1, 1 << 20} {
			same(fmt.Sprintf("get into %d bytes", size), func(path string) string {
				return xattrCall(unix.SYS_LGETXATTR, path, name, make([]byte, size), size, 0)
			})
		}
		for _, size := range []int{1, 10} {
			same(fmt.Sprintf("list into %d bytes", size), func(path string) string {
				return xattrCall(unix.SYS_LLISTXATTR, path, "", make([]byte, size), size, 0)
			})
		}
		if probe := xattrCall(unix.SYS_LLISTXATTR, path, "", nil, 0, 0); probe == "0 \"\"" || strings.HasPrefix(probe, "E") {
			t.Errorf("the list's size of %s is %s", path, probe)
		}
		for _, name := range []string{"", "user", "user.", "x", "USER.x", "nope.x", "user.nothing", "user." + strings.Repeat("n", 250), "user." + strings.Repeat("n", 251)} {
			for what, number := range map[string]uintptr{"get": unix.SYS_LGETXATTR, "remove": unix.SYS_LREMOVEXATTR} {
				same(fmt.Sprintf("%s %.20q", what, name), func(path string) string {
					return xattrCall(number, path, name, make([]byte, 64), 64, 0)
				})
			}
		}
		for _, name := range []string{"", "user", "user.", "x", "nope.x", "user." + strings.Repeat("n", 251)} {
			same(fmt.Sprintf("set %.20q", name), func(path string) string {
				return xattrCall(unix.SYS_LSETXATTR, path, name, []byte("true"), 4, 0)
			})
		}
		for _, flags := range []int{0, unix.XATTR_CREATE, unix.XATTR_REPLACE, unix.XATTR_CREATE | unix.XATTR_REPLACE, 4} {
			same(fmt.Sprintf("set with flags %d", flags), func(path string) string {
				return xattrCall(unix.SYS_LSETXATTR, path, name, []byte("true"), 4, flags)
			})
		}
		same("replace what is not there", func(path string) string {
			return xattrCall(unix.SYS_LSETXATTR, path, "user.nothing", []byte("true"), 4, unix.XATTR_REPLACE)
		})
		same("set 64 KiB and more", func(path string) string {
			return xattrCall(unix.SYS_LSETXATTR, path, name, make([]byte, 64<<10+1), 64<<10+1, 0)
		})
	}
}
