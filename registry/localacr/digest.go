package localacr

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
)

// newHash returns the hash of a digest algorithm, sha256 for any other name.
func newHash(algorithm string) hash.Hash {
	if algorithm == "sha512" {
		return sha512.New()
	}
	return sha256.New()
}

// digestOf returns the digest of data by an algorithm; empty is sha256.
func digestOf(algorithm string, data []byte) string {
	h := newHash(algorithm)
	h.Write(data)
	return digestString(algorithm, h)
}

func digestString(algorithm string, h hash.Hash) string {
	if algorithm != "sha512" {
		algorithm = "sha256"
	}
	return algorithm + ":" + hex.EncodeToString(h.Sum(nil))
}
