package main

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"
)

// TestDataWithoutHOMEIsTheUsers: a service, a cron job or a container has no HOME,
// and its data goes neither to the root directory nor to where it was started.
func TestDataWithoutHOMEIsTheUsers(t *testing.T) {
	self, err := user.LookupId(strconv.Itoa(os.Getuid()))
	if err != nil {
		t.Skip(err)
	}
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("XDG_CACHE_HOME", "")
	cache := filepath.Join(self.HomeDir, ".cache")
	if os.Geteuid() == 0 {
		cache = "/var/cache"
	}
	for _, home := range []string{"", "relative"} {
		t.Setenv("HOME", home)
		e := readEnvironment()
		if want := filepath.Join(self.HomeDir, ".local", "share"); e.dataHome != want {
			t.Errorf("HOME=%s: data in %s, want %s", home, e.dataHome, want)
		}
		if e.cacheHome != cache {
			t.Errorf("HOME=%s: caches in %s, want %s", home, e.cacheHome, cache)
		}
	}
}
