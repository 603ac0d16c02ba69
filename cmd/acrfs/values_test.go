package main

import (
	"math"
	"strings"
	"testing"
)

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "4096": 4096, "500M": 500 << 20, "500MB": 500e6, "10GiB": 10 << 30, "10 GiB": 10 << 30,
		"1.5g": 3 << 29, "2TB": 2e12, "7kib": 7 << 10, "1B": 1,
	} {
		if got, err := parseBytes(text); err != nil || got != want {
			t.Errorf("parseBytes(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "M", "-1", "1Q", "1M1", "1e3", "NaN", "inf", "0x10", "0.5", "0.9B", "1..2", "9999999T", "1 2"} {
		if got, err := parseBytes(text); err == nil {
			t.Errorf("parseBytes(%q) = %d, want an error", text, got)
		}
	}
}

func FuzzParseBytes(f *testing.F) {
	for _, seed := range []string{"500M", "10 GiB", "1.5g", "9223372036854775807", "%", "1e400"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseBytes(text)
		if err != nil {
			return
		}
		if n < 0 {
			t.Fatalf("parseBytes(%q) = %d", text, n)
		}
		// What we print can be given back, and is the same to three digits.
		again, err := parseBytes(formatBytes(n))
		if err != nil || math.Abs(float64(again)-float64(n)) > float64(n)/18 {
			t.Fatalf("%q is %d, printed as %s, which is %d, %v", text, n, formatBytes(n), again, err)
		}
	})
}

func TestRequestsPerSecond(t *testing.T) {
	for text, want := range map[string]float64{"50": 50, "50/s": 50, "900/min": 15, "6/min": 0.1} {
		var v requestsValue
		if err := v.Set(text); err != nil || v.perSecond() != want {
			t.Errorf("%s: got %v, %v, want %v", text, v.perSecond(), err, want)
		}
	}
	for _, text := range []string{"", "/s", "0", "-1", "1.5", "1e9", "99999999999", "many", "10/h", "10 /s/min"} {
		if err := new(requestsValue).Set(text); err == nil {
			t.Errorf("%q is taken for a number of requests", text)
		}
	}
}

// TestPrefixHasTheGrammarOfTheRegistry: whoever restricts a mount to a repository
// that cannot be has meant another.
func TestPrefixHasTheGrammarOfTheRegistry(t *testing.T) {
	for _, name := range []string{"", "/", "a//b", "a/", "A", "a..b", "a.-b", "a_.b", "a___b", "team/a___b", strings.Repeat("a", 256)} {
		if err := new(prefixValue).Set(name); err == nil {
			t.Errorf("--writable=%s is taken", name)
		}
		flags := authFlags{repositories: []string{name}}
		if err := flags.check(false, false); err == nil {
			t.Errorf("--repository %s is taken", name)
		}
	}
	for _, name := range []string{"a", "team/app", "a.b_c__d--e/f", strings.Repeat("a", 255)} {
		if err := new(prefixValue).Set(name); err != nil {
			t.Errorf("--writable=%s: %v", name, err)
		}
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1 MiB",
		10 << 30: "10 GiB", 5 << 40: "5 TiB", 5000 << 40: "5000 TiB",
	} {
		if got := formatBytes(n); got != want {
			t.Errorf("formatBytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestCacheSizeAsAShareOfTheFreeDisk(t *testing.T) {
	m := mountFlags{cacheDir: t.TempDir() + "/not/yet/there"}
	if err := m.cacheSize.Set("50%"); err != nil {
		t.Fatal(err)
	}
	half, err := m.cacheBytes()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cacheSize.Set("100%"); err != nil {
		t.Fatal(err)
	}
	all, err := m.cacheBytes()
	if err != nil {
		t.Fatal(err)
	}
	// The disk is in use by others meanwhile.
	if ratio := float64(all) / float64(half); half <= 1 || ratio < 1.5 || ratio > 2.5 {
		t.Errorf("100%% is %d, 50%% is %d", all, half)
	}
}
