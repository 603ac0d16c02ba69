package registry

import (
	"encoding/base64"
	"encoding/json"
)

// schema1Payload returns the bytes that have the digest of a signed Docker
// schema 1 manifest: the document before its signatures were put in. Each
// signature says how long the beginning was and what ended it.
//
//	{ "name": …, "history": […] ┆, "signatures": […]}
//	└──── formatLength bytes ───┘  + formatTail ("\n}")
//
// A body without usable signatures is returned whole.
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
	if err != nil {
		return body
	}
	payload := make([]byte, 0, format.Length+len(tail))
	return append(append(payload, body[:format.Length]...), tail...)
}
