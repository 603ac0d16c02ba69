package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/acrfs/acrfs/registry"
)

// errValue is all that a flag's value says about bad input; flagError knows
// the rest.
var errValue = errors.New("bad value")

// units are what may follow a number of bytes. As in GNU coreutils a bare
// letter counts in 1024s, and KB, MB, GB in 1000s.
var units = map[string]float64{
	"": 1, "B": 1,
	"K": 1 << 10, "KIB": 1 << 10, "KB": 1e3,
	"M": 1 << 20, "MIB": 1 << 20, "MB": 1e6,
	"G": 1 << 30, "GIB": 1 << 30, "GB": 1e9,
	"T": 1 << 40, "TIB": 1 << 40, "TB": 1e12,
}

// parseBytes reads 500M, 1.5GiB or 4096.
func parseBytes(s string) (int64, error) {
	end := len(s) - len(strings.TrimLeft(s, "0123456789."))
	unit, ok := units[strings.ToUpper(strings.TrimSpace(s[end:]))]
	n, err := strconv.ParseFloat(s[:end], 64)
	if !ok || err != nil || n < 0 || math.IsNaN(n) || n*unit >= math.MaxInt64 {
		return 0, errValue
	}
	if n > 0 && n*unit < 1 {
		return 0, errValue // 0 stands for no limit
	}
	return int64(n * unit), nil
}

// formatBytes is 512 B, 1.5 MiB or 10 GiB.
func formatBytes(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/(1<<10), "KiB"
	for _, next := range []string{"MiB", "GiB", "TiB"} {
		// 1023.95 would be rounded to 1024.
		if value < 1023.95 {
			break
		}
		value, unit = value/(1<<10), next
	}
	return strings.TrimSuffix(strconv.FormatFloat(value, 'f', 1, 64), ".0") + " " + unit
}

// sizeValue is a flag for an amount of disk: bytes, or a share of what is
// free. The zero value leaves the choice to whoever uses it.
type sizeValue struct {
	bytes   int64
	percent float64
	text    string
}

func (v *sizeValue) Set(s string) error {
	text := s
	if share, ok := strings.CutSuffix(s, "%"); ok {
		p, err := strconv.ParseFloat(strings.TrimSpace(share), 64)
		if err != nil || !(p > 0 && p <= 100) {
			return errValue
		}
		*v = sizeValue{percent: p, text: text}
		return nil
	}
	n, err := parseBytes(s)
	if err != nil || n == 0 {
		return errValue
	}
	*v = sizeValue{bytes: n, text: text}
	return nil
}

func (v *sizeValue) String() string { return v.text }
func (v *sizeValue) Type() string   { return "size" }

// requestsValue is a flag for so many requests in a second or in a minute; zero
// is without limit.
type requestsValue struct {
	count int
	per   time.Duration
}

func (v *requestsValue) Set(s string) error {
	number, per := s, time.Second
	if n, ok := strings.CutSuffix(s, "/min"); ok {
		number, per = n, time.Minute
	} else if n, ok := strings.CutSuffix(s, "/s"); ok {
		number = n
	}
	count, err := strconv.ParseUint(number, 10, 31)
	if err != nil || count == 0 {
		return errValue
	}
	*v = requestsValue{int(count), per}
	return nil
}

func (v *requestsValue) perSecond() float64 {
	if v.count == 0 {
		return 0
	}
	return float64(v.count) / v.per.Seconds()
}

func (v *requestsValue) String() string {
	switch {
	case v.count == 0:
		return ""
	case v.per == time.Minute:
		return strconv.Itoa(v.count) + "/min"
	}
	return strconv.Itoa(v.count) + "/s"
}
func (v *requestsValue) Type() string { return "requests" }

// rateValue is a flag in bytes per second; zero is without limit.
type rateValue int64

func (v *rateValue) Set(s string) error {
	n, err := parseBytes(strings.TrimSuffix(s, "/s"))
	if err != nil {
		return err
	}
	*v = rateValue(n)
	return nil
}

func (v *rateValue) String() string {
	if *v == 0 {
		return ""
	}
	return formatBytes(int64(*v)) + "/s"
}
func (v *rateValue) Type() string { return "rate" }

// choiceValue is a flag that takes one of a few words, the first by default.
type choiceValue struct {
	choices []string
	chosen  string
}

func choice(words ...string) choiceValue { return choiceValue{words, words[0]} }

func (v *choiceValue) Set(s string) error {
	for _, c := range v.choices {
		if s == c {
			v.chosen = s
			return nil
		}
	}
	return errValue
}

func (v *choiceValue) String() string { return v.chosen }

// Type is what help shows after the flag, and what flagError says is wanted.
func (v *choiceValue) Type() string {
	return strings.Join(v.choices, "|")
}

// idValue is a flag for a user or group id; nil means that none was given.
type idValue struct{ id *uint32 }

func (v *idValue) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 32)
	// The highest is "no id" to chown(2).
	if err != nil || n == math.MaxUint32 {
		return errValue
	}
	id := uint32(n)
	v.id = &id
	return nil
}

func (v *idValue) String() string {
	if v.id == nil {
		return ""
	}
	return strconv.FormatUint(uint64(*v.id), 10)
}
func (v *idValue) Type() string { return "id" }

// everywhere is the value of a bare --writable. No repository is called that.
const everywhere = "*"

// prefixValue is a flag that can be given alone or with a repository.
type prefixValue struct {
	set    bool
	prefix string // "" for every repository
}

func (p *prefixValue) Set(value string) error {
	switch {
	case value == everywhere:
		value = ""
	case !registry.ValidRepository(value):
		return errValue
	}
	p.set, p.prefix = true, value
	return nil
}

func (p *prefixValue) String() string {
	if p.set && p.prefix == "" {
		return everywhere
	}
	return p.prefix
}

func (p *prefixValue) Type() string { return "prefix" }

func (p *prefixValue) describe() string {
	if p.prefix == "" {
		return "writable"
	}
	return "writable below " + p.prefix
}
