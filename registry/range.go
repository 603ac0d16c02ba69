package registry

import (
	"strconv"
	"strings"
)

// contentRange is a parsed Content-Range header. first and last are -1 in the
// unsatisfied form (bytes */total), total is -1 when the server does not tell.
type contentRange struct{ first, last, total int64 }

func parseContentRange(value string) (contentRange, bool) {
	unit, rest, ok := strings.Cut(strings.TrimSpace(value), " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return contentRange{}, false
	}
	span, totalText, ok := strings.Cut(strings.TrimSpace(rest), "/")
	if !ok {
		return contentRange{}, false
	}
	r := contentRange{first: -1, last: -1, total: -1}
	if totalText != "*" {
		if r.total, ok = parseOffset(totalText); !ok {
			return contentRange{}, false
		}
	}
	if span == "*" {
		return r, r.total >= 0
	}
	firstText, lastText, ok := strings.Cut(span, "-")
	if !ok {
		return contentRange{}, false
	}
	var okFirst, okLast bool
	r.first, okFirst = parseOffset(firstText)
	r.last, okLast = parseOffset(lastText)
	if !okFirst || !okLast || r.last < r.first || (r.total >= 0 && r.last >= r.total) {
		return contentRange{}, false
	}
	return r, true
}

// parseOffset reads digits and nothing else: strconv would take a sign.
func parseOffset(text string) (int64, bool) {
	if text == "" || text[0] < '0' || text[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// formatRange asks for length bytes from first, or for all of the rest when
// length is negative.
func formatRange(first, length int64) string {
	s := "bytes=" + strconv.FormatInt(first, 10) + "-"
	if length < 0 {
		return s
	}
	return s + strconv.FormatInt(first+length-1, 10)
}
