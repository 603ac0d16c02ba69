package fs

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestKernelReadsAheadAsMuchAsItMayAskFor(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can raise the kernel's read-ahead")
	}
	w := mounted(t, Config{})
	var st unix.Stat_t
	if err := unix.Stat(w.dir, &st); err != nil {
		t.Fatal(err)
	}
	setting, err := os.ReadFile(fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		t.Skip(err) // sysfs is not there, or not ours
	}
	if got, want := strings.TrimSpace(string(setting)), strconv.Itoa(maxRead>>10); got != want {
		t.Errorf("the kernel reads %s KiB ahead, want %s", got, want)
	}
}
