package registry

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"unicode"
)

// What a caller decides on. Every error of this package is one of these by
// errors.Is, unless the caller's own context ended: then it is that context's
// error.
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

// Causes within the package.
var (
	errDeadline = errors.New("no complete answer before our deadline")
	errStalled  = errors.New("no byte within the stall limit")
	errTooLong  = errors.New("the answer is longer than any honest one")
	errCutShort = errors.New("the answer broke off")
)

// Error is a failed operation as a human reads it:
//
//	list tags of team/app: 404 NAME_UNKNOWN: repository "team/app" is not found
//
// It never holds a token, a password or the query of a URL.
type Error struct {
	Op      string // what was tried: "list tags of team/app"
	Status  int    // the HTTP status; 0 when there was no answer
	Code    string // the registry's word for it, such as NAME_UNKNOWN; may be empty
	Message string // the registry's sentence, or ours; may be empty
	Kind    error  // one of the sentinels above; nil when the caller's context ended
	Login   bool   // it was the login that failed, not what it was for
	Silent  bool   // nobody answered: the registry, or who was to log us in
	Err     error  // the cause; may be nil
}

func (e *Error) Error() string {
	parts := []string{e.Op}
	if e.Status != 0 {
		parts = append(parts, strings.TrimRight(strconv.Itoa(e.Status)+" "+e.Code, " "))
	}
	switch {
	case e.Message != "":
		parts = append(parts, e.Message)
	case e.Status != 0 && e.Code == "":
		parts = append(parts, strings.ToLower(http.StatusText(e.Status)))
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	if len(parts) == 1 && e.Kind != nil {
		parts = append(parts, e.Kind.Error())
	}
	return strings.Join(parts, ": ")
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

// failure gives an error without an answer its operation and its kind. ctx is
// the caller's context, inner ours below it. One that is too long or breaks off is
// no silence.
func (c *Client) failure(ctx, inner context.Context, op string, err error) error {
	var ours *Error
	switch {
	case ctx.Err() != nil:
		return &Error{Op: op, Err: ctx.Err()}
	case errors.As(err, &ours):
		return &Error{Op: op, Kind: ours.Kind, Silent: ours.Silent, Err: err}
	case errors.Is(err, errTooLong), errors.Is(err, errCutShort) && inner.Err() == nil:
		return &Error{Op: op, Kind: ErrUnavailable, Err: err}
	}
	silence := &Error{Op: op, Message: "no answer from " + c.Host(), Kind: ErrUnavailable, Silent: true, Err: err}
	switch {
	case errors.Is(err, errStalled):
		silence.Kind = ErrTimeout
	case inner.Err() != nil:
		c.transports.closeIdle()
		silence.Kind, silence.Err = ErrTimeout, context.Cause(inner)
	}
	return silence
}

// broken is an answer that no working registry gives.
func broken(op, what string) error {
	return &Error{Op: op, Message: what, Kind: ErrUnavailable}
}

// statusError turns an answer that is not success into an Error.
func statusError(op string, status int, header http.Header, body []byte) *Error {
	code, message := decodeError(body)
	if message == "" && code == "" && status/100 == 3 {
		message = "an unexpected redirect"
	}
	return &Error{Op: op, Status: status, Code: code, Message: message, Kind: kindOf(status, code)}
}

// kindOf is the table from a registry's answer to what a caller decides on.
func kindOf(status int, code string) error {
	switch {
	case status == http.StatusMethodNotAllowed && code == "REGISTRY_DISALLOWED_OPERATION",
		status == http.StatusLocked, status == http.StatusConflict:
		return ErrLocked
	case status == http.StatusMethodNotAllowed, status == http.StatusNotImplemented, code == "UNSUPPORTED":
		return ErrUnsupported
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ErrDenied
	case status == http.StatusNotFound, status == http.StatusGone:
		return ErrNotFound
	case status == http.StatusTooManyRequests:
		return ErrThrottled
	}
	return ErrUnavailable
}

// decodeError reads code and message of an error body: the errors[] of
// registries, the XML of Azure and S3 storage, the details of token services.
// Of plain text or a web page nothing is taken, as the status says as much.
func decodeError(body []byte) (code, message string) {
	var registry struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
		Details string `json:"details"`
		Error   any    `json:"error"`
	}
	if json.Unmarshal(body, &registry) == nil {
		if len(registry.Errors) > 0 {
			return clean(registry.Errors[0].Code, 64), clean(registry.Errors[0].Message, 512)
		}
		word, _ := registry.Error.(string)
		return clean(word, 64), clean(registry.Details, 512)
	}
	return storageCode(body), ""
}

// storageCode reads the <Code> of a storage error. Only that: its details
// repeat parts of the signed request.
func storageCode(body []byte) string {
	var storage struct {
		XMLName xml.Name `xml:"Error"`
		Code    string   `xml:"Code"`
	}
	if xml.Unmarshal(body, &storage) != nil {
		return ""
	}
	return clean(storage.Code, 64)
}

// clean makes foreign text fit for one line of a log or a terminal: without what
// controls them, breaks lines, or cannot be seen and turns what follows around.
func clean(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	text = strings.TrimSpace(text)
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}
