package localacr

import (
	"net/http"
	"strconv"
	"strings"
)

// parseRange reads a Range header for content of a size: from where, how many
// bytes, and the status to answer with. A header that is malformed or names
// several ranges is not there, as for storage; that one does not know
// suffixes ("bytes=-500") either.
func parseRange(header string, size int64, suffixes bool) (start, n int64, status int) {
	spec, ok := strings.CutPrefix(header, "bytes=")
	first, last, dash := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok || !dash {
		return 0, size, http.StatusOK
	}
	if first == "" {
		length, ok := parseDecimal(last)
		if !ok || !suffixes || size == 0 {
			return 0, size, http.StatusOK
		}
		if length == 0 {
			return 0, 0, http.StatusRequestedRangeNotSatisfiable
		}
		length = min(length, size)
		return size - length, length, http.StatusPartialContent
	}
	start, ok = parseDecimal(first)
	if !ok {
		return 0, size, http.StatusOK
	}
	end := size - 1
	if last != "" {
		if end, ok = parseDecimal(last); !ok || end < start {
			return 0, size, http.StatusOK
		}
	}
	if start >= size {
		return 0, 0, http.StatusRequestedRangeNotSatisfiable
	}
	end = min(end, size-1)
	return start, end - start + 1, http.StatusPartialContent
}

// parseContentRange reads the Content-Range of a chunk, "START-END": no unit,
// both ends included, decimal.
func parseContentRange(header string) (start, end int64, ok bool) {
	first, last, dash := strings.Cut(header, "-")
	start, ok1 := parseDecimal(first)
	end, ok2 := parseDecimal(last)
	return start, end, dash && ok1 && ok2 && start <= end
}

// parseDecimal reads digits and nothing else.
func parseDecimal(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}
