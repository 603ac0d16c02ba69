package registry

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode"
)

func TestErrorsKeepTheirKindAndReadWell(t *testing.T) {
	for _, row := range []struct {
		status int
		body   string
		kind   error
		text   string
	}{
		{404, errorBody("NAME_UNKNOWN", `repository "team/app" is not found`), ErrNotFound, `list tags of team/app: 404 NAME_UNKNOWN: repository "team/app" is not found`},
		{404, "404 page not found\n", ErrNotFound, "list tags of team/app: 404: not found"},
		{401, errorBody("UNAUTHORIZED", "authentication required"), ErrDenied, "list tags of team/app: 401 UNAUTHORIZED: authentication required"},
		{403, "<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code><Message>sig=secret</Message></Error>", ErrDenied, "list tags of team/app: 403 AuthenticationFailed"},
		{405, locked, ErrLocked, ""},
		{405, errorBody("UNSUPPORTED", "The operation is unsupported."), ErrUnsupported, ""},
		{400, errorBody("UNSUPPORTED", "no"), ErrUnsupported, ""},
		{429, "", ErrThrottled, "list tags of team/app: 429: too many requests"},
		{500, "<html>oops</html>", ErrUnavailable, "list tags of team/app: 500: internal server error"},
		{418, `{"details":"incorrect username or password"}`, ErrUnavailable, "list tags of team/app: 418: incorrect username or password"},
		{404, `{"errors":[{"code":"X","message":"line\nbreak\u001b[31m"}]}`, ErrNotFound, "list tags of team/app: 404 X: line break[31m"},
	} {
		err := fmt.Errorf("far away: %w", error(statusError("list tags of team/app", row.status, http.Header{}, []byte(row.body))))
		if !errors.Is(err, row.kind) {
			t.Errorf("%d %s: got %v, want %v", row.status, row.body, err, row.kind)
		}
		if row.text != "" && err.Error() != "far away: "+row.text {
			t.Errorf("got %q, want %q", err, row.text)
		}
	}
}

func FuzzDecodeError(f *testing.F) {
	f.Add([]byte(errorBody("NAME_UNKNOWN", "m")))
	f.Add([]byte("<Error><Code>x</Code></Error>"))
	f.Add([]byte(`{"errors":[{"code":1}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		code, message := decodeError(body)
		if len(code) > 70 || len(message) > 520 || strings.ContainsFunc(code+message, unicode.IsControl) {
			t.Errorf("%q gave %q %q", body, code, message)
		}
	})
}
