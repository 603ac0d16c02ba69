package registry

import (
	"errors"
	"strconv"
	"strings"
)

// What a caller decides on. Every error of this package that is not the
// caller's own cancellation is exactly one of these, by errors.Is.
var (
	// ErrNotFound: the registry has no such repository, tag, manifest or blob.
	ErrNotFound = errors.New("not found")
	// ErrLocked: the item's access flags forbid what was asked.
	ErrLocked = errors.New("locked")
	// ErrDenied: refused after a new login (401), or forbidden (403).
	ErrDenied = errors.New("access denied")
	// ErrUnsupported: the registry lacks the feature.
	ErrUnsupported = errors.New("not supported by the registry")
	// ErrThrottled: too many requests, for longer than waiting allows.
	ErrThrottled = errors.New("throttled")
	// ErrTimeout: our own deadline or stall limit passed.
	ErrTimeout = errors.New("timed out")
	// ErrCorrupt: content came with another digest or size than promised.
	ErrCorrupt = errors.New("corrupt content")
	// ErrUnavailable: server faults, broken answers or no connection, after
	// all retries.
	ErrUnavailable = errors.New("registry unavailable")
)

// Error is a failed operation as a human reads it:
//
//	list tags of team/app: 404 NAME_UNKNOWN: repository "team/app" is not found
//
// It never holds a token, a password or the query of a URL.
type Error struct {
	Op      string // what was tried, in lower case: "list tags of team/app"
	Status  int    // the HTTP status; 0 when there was no answer
	Code    string // the registry's word for it, such as NAME_UNKNOWN; may be empty
	Message string // the registry's sentence, or ours
	Kind    error  // one of the sentinels above; nil when the caller's context ended
	Err     error  // the cause; may be nil
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	said := false
	if e.Status != 0 {
		b.WriteString(": " + strconv.Itoa(e.Status))
		if e.Code != "" {
			b.WriteString(" " + e.Code)
		}
		said = true
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
		said = true
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
		said = true
	}
	if !said && e.Kind != nil {
		b.WriteString(": " + e.Kind.Error())
	}
	return b.String()
}

// Unwrap gives both what the error is and what caused it.
func (e *Error) Unwrap() []error {
	var errs []error
	if e.Kind != nil {
		errs = append(errs, e.Kind)
	}
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	return errs
}
