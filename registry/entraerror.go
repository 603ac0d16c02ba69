package registry

import (
	"errors"
	"net"
	"regexp"
	"strings"
)

// entraError says in one line what azidentity says in a page.
type entraError struct {
	cause error
	late  bool // it took longer than entraTimeout
}

func (e *entraError) Error() string {
	text := condense(e.cause.Error())
	if e.late {
		return "no answer within " + entraTimeout.String() + ": " + text
	}
	return text
}

func (e *entraError) Unwrap() error { return e.cause }

// kindOfEntra tells a refusal from Microsoft Entra being out of reach, which a
// credential says by an error that is a net.Error or ErrUnavailable.
func kindOfEntra(err error) error {
	var ours *entraError
	var network net.Error
	switch {
	case errors.As(err, &ours) && ours.late:
		return ErrTimeout
	case errors.Is(err, ErrUnavailable), errors.As(err, &network):
		return ErrUnavailable
	}
	return ErrDenied
}

var (
	// aadsts finds the sentence of Microsoft Entra's own that says what is
	// wrong. Its codes are documented, and what people search for.
	aadsts = regexp.MustCompile(`AADSTS\d+:[^"\r\n\\]*`)
	// filler is what of azidentity's pages says nothing: rules, headings, the
	// request, the frame and the ids of a JSON answer.
	filler = regexp.MustCompile(`^(-+|[{}\[\],]*|Attempted credentials:|.*: failed to acquire a token\.?|(GET|POST) https?://.*|Response contained no body|Request information not available)$`)
	// troubleshoot is the pointer to a guide for programmers.
	troubleshoot = regexp.MustCompile(`\s*To troubleshoot, visit https://\S+`)
	// field is a line of a JSON answer.
	field = regexp.MustCompile(`^"(\w+)": ?(.*?),?$`)
)

// condense keeps of a page what says what is wrong: Entra's sentence, or what
// each credential that was tried said.
func condense(page string) string {
	if sentence := aadsts.FindString(page); sentence != "" {
		sentence, _, _ = strings.Cut(sentence, " Trace ID:")
		return clean(sentence, 512)
	}
	var said []string
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(troubleshoot.ReplaceAllString(line, ""))
		line = strings.TrimPrefix(line, "RESPONSE ")
		if status, again, ok := strings.Cut(line, ": "); ok && strings.HasPrefix(again, status+" ") {
			line = again // 403: 403 Forbidden
		}
		if f := field.FindStringSubmatch(line); f != nil {
			line = ""
			if f[1] == "error" || f[1] == "error_description" || f[1] == "message" {
				line = strings.Trim(f[2], `"`)
			}
		}
		if line = strings.TrimRight(line, ". "); !filler.MatchString(line) {
			said = append(said, line)
		}
	}
	return clean(strings.Join(said, "; "), 1024)
}
