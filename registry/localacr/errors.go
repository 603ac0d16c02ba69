package localacr

import (
	"encoding/json"
	"net/http"
	"strings"
)

// apiError is an answer that says no: a status and one or more entries of
// "errors".
type apiError struct {
	status  int
	entries []errorEntry
}

// errorEntry is one error as the wire has it. A nil Detail is absent, which
// is not the same as null.
type errorEntry struct {
	Code    string          `json:"code"`
	Message string          `json:"message"`
	Detail  json.RawMessage `json:"detail,omitempty"`
}

func (e *apiError) Error() string {
	var b strings.Builder
	for i, entry := range e.entries {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(entry.Code + ": " + entry.Message)
	}
	return b.String()
}

func refuse(status int, code, message string) *apiError {
	return &apiError{status, []errorEntry{{Code: code, Message: message}}}
}

// with adds a detail, anything that JSON can say.
func (e *apiError) with(detail any) *apiError {
	raw, err := json.Marshal(detail)
	if err != nil {
		panic(err) // a detail is one of our own literals
	}
	e.entries[0].Detail = raw
	return e
}

// The texts below are ACR's, to the letter.

func errRepositoryNotFound(name string) *apiError {
	return refuse(http.StatusNotFound, "NAME_UNKNOWN", `repository "`+name+`" is not found`)
}

func errRepositoryNotKnown(name string) *apiError {
	return refuse(http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry").with(map[string]string{"name": name})
}

func errTagUnknown() *apiError {
	return refuse(http.StatusNotFound, "TAG_UNKNOWN", "the specified tag does not exist")
}

func errManifestUnknown() *apiError {
	return refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
}

func errManifestTagNotFound(tag string) *apiError {
	return refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", `manifest tagged by "`+tag+`" is not found`).
		with(struct{ Tag string }{tag})
}

func errManifestNotFound(digest string) *apiError {
	return refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest "+digest+" is not found")
}

func errManifestInvalid() *apiError {
	return refuse(http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid").with(struct{ Reason struct{} }{})
}

func errBlobsMissing(digests []string) *apiError {
	e := &apiError{status: http.StatusBadRequest}
	for _, d := range digests {
		detail, _ := json.Marshal(d)
		e.entries = append(e.entries, errorEntry{"MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", detail})
	}
	return e
}

func errBlobUnknown() *apiError {
	return refuse(http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")
}

func errUploadInvalid() *apiError {
	return refuse(http.StatusNotFound, "BLOB_UPLOAD_INVALID", "blob upload invalid")
}

func errUploadUnknown() *apiError {
	return refuse(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry").with(struct{}{})
}

func errUploadRange(given, reason string) *apiError {
	return refuse(http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_RANGE_INVALID", "blob upload range invalid").
		with(struct{ Range, Reason string }{given, reason})
}

func errDigestInvalid(detail string) *apiError {
	return refuse(http.StatusBadRequest, "DIGEST_INVALID", "provided digest did not match uploaded content").with(detail)
}

func errLocked() *apiError {
	return refuse(http.StatusMethodNotAllowed, "REGISTRY_DISALLOWED_OPERATION",
		"The operation is disallowed on this registry, repository or image. View troubleshooting steps at "+
			"https://aka.ms/acr/faq/#why-does-my-pull-or-push-request-fail-with-disallowed-operation").with(struct{}{})
}

func errUnsupported() *apiError {
	return refuse(http.StatusMethodNotAllowed, "UNSUPPORTED", "The operation is unsupported.")
}

func errPageSize(n string) *apiError {
	return refuse(http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "invalid number of results requested").with(map[string]string{"n": n})
}

// failed is the error that goes with a status alone: of a failure of ours, or
// of one that a fault asks for.
func failed(status int) *apiError {
	switch status {
	case http.StatusUnauthorized:
		return refuse(status, "UNAUTHORIZED", unauthorizedMessage)
	case http.StatusForbidden:
		return refuse(status, "DENIED", "requested access to the resource is denied")
	case http.StatusNotFound:
		return refuse(status, "NOT_FOUND", "not found")
	case http.StatusTooManyRequests:
		return refuse(status, "TOOMANYREQUESTS", "too many requests")
	case http.StatusServiceUnavailable:
		return refuse(status, "UNAVAILABLE", "service unavailable")
	}
	return refuse(status, "UNKNOWN", "unknown error")
}

// firstError is the first of errs that is one.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
