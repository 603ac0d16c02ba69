package registry

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
)

// schema1Payload returns the bytes that have the digest of a signed Docker
// schema 1 manifest: the document before its signatures were put in. Each
// signature says how long the beginning was and what ended it.
//
//	{ "name": …, "history": […] ┆, "signatures": […]}
//	└──── formatLength bytes ───┘  + formatTail ("\n}")
//
// Both numbers are the body's own word, so it is believed only where the
// payload is a schema 1 document by itself and all else in the body is its
// signatures: nothing that is read could be of another document. Any other body
// is returned whole.
func schema1Payload(body []byte) []byte {
	var signed struct {
		Signatures []struct {
			Protected string `json:"protected"`
		} `json:"signatures"`
	}
	if json.Unmarshal(body, &signed) != nil || len(signed.Signatures) == 0 {
		return body
	}
	protected, err := base64.RawURLEncoding.DecodeString(signed.Signatures[0].Protected)
	if err != nil {
		return body
	}
	var format struct {
		Length int    `json:"formatLength"`
		Tail   string `json:"formatTail"`
	}
	if json.Unmarshal(protected, &format) != nil || format.Length <= 0 || format.Length > len(body) {
		return body
	}
	tail, err := base64.RawURLEncoding.DecodeString(format.Tail)
	if err != nil || string(bytes.TrimSpace(tail)) != "}" {
		return body
	}
	payload := slices.Concat(body[:format.Length], tail)
	if !isSchema1(payload) || !onlySignatures(body[format.Length:]) {
		return body
	}
	return payload
}

// isSchema1 reports whether a payload is a schema 1 document that has no
// signatures yet.
func isSchema1(payload []byte) bool {
	var m struct {
		SchemaVersion int             `json:"schemaVersion"`
		Signatures    json.RawMessage `json:"signatures"`
	}
	return json.Unmarshal(payload, &m) == nil && m.SchemaVersion == 1 && m.Signatures == nil
}

// onlySignatures reports whether the rest of a document, after the beginning
// that was signed, is its signatures and nothing else.
func onlySignatures(rest []byte) bool {
	rest, more := bytes.CutPrefix(bytes.TrimSpace(rest), []byte(","))
	var fields map[string]json.RawMessage
	if !more || json.Unmarshal(slices.Concat([]byte("{"), rest), &fields) != nil {
		return false
	}
	return len(fields) == 1 && fields["signatures"] != nil
}
