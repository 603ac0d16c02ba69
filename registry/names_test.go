package registry

import (
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// FuzzNames compares what is written out with what the specification says.
func FuzzNames(f *testing.F) {
	grammar := regexp.MustCompile(`\A[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\z`)
	for _, name := range []string{
		"", "v1", "_", ".x", "-x", "a.b-c_d", "a b", "a/b", "ä", "v1\n", strings.Repeat("a", 128), strings.Repeat("a", 129),
		"sha256:" + strings.Repeat("0f", 32), "sha256:" + strings.Repeat("0F", 32), "sha256:" + strings.Repeat("0g", 32), "sha256:00",
		"sha256:" + strings.Repeat("0f", 32) + "0", "sha512:" + strings.Repeat("0f", 64), "md5:" + strings.Repeat("0f", 16), "sha256", "sha256:",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if got, want := ValidTag(name), grammar.MatchString(name); got != want {
			t.Errorf("ValidTag(%q) = %v", name, got)
		}
		if got, want := ValidDigest(digest.Digest(name)), digest.Digest(name).Validate() == nil; got != want {
			t.Errorf("ValidDigest(%q) = %v", name, got)
		}
	})
}
