package fs

import (
	"os"
	"strconv"
)

// raiseReadAhead lets the kernel read as much ahead as it may ask for at once.
// Without it a sequential reader's requests are 128 KiB, whatever the mount
// options say. Only root can; for others nothing changes.
func raiseReadAhead(device uint64) {
	path := "/sys/class/bdi/" + deviceNumber(device) + "/read_ahead_kb"
	_ = os.WriteFile(path, []byte(strconv.Itoa(maxRead>>10)), 0)
}
