package localacr_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/acrfs/acrfs/registry/localacr"
)

// 1.6: what clients get that do not know the type of a Docker image.
func TestDockerImagesForOldClients(t *testing.T) {
	r := start(t, localacr.Config{})
	image := r.image("a", typeDockerManifest, "x")
	d := r.pushManifest("a", "v1", typeDockerManifest, image)
	list := index(typeDockerList, child(typeDockerManifest, d, len(image), "amd64"))
	r.pushManifest("a", "list", typeDockerList, list)

	// A list becomes its image for linux on amd64, by tag only.
	r.do("GET", "/v2/a/manifests/list", "", "Accept: "+typeDockerManifest).says(200, image).has("Docker-Content-Digest: "+d, "Content-Type: "+typeDockerManifest)
	r.do("GET", "/v2/a/manifests/"+localacr.DigestOf("", []byte(list)), "", "Accept: "+typeDockerManifest).says(200, list)
	r.do("GET", "/v2/a/manifests/"+d, "").says(200, image)

	// An image becomes schema 1, signed anew, with the digest of its payload.
	first := r.do("GET", "/v2/a/manifests/v1", "", "Accept: application/json").want(200).has("Content-Type: " + typeSchema1)
	second := r.do("GET", "/v2/a/manifests/list", "", "Accept: */*").want(200).has("Content-Type: " + typeSchema1)
	if first.body == second.body {
		t.Error("two signatures are the same")
	}
	got := first.header.Get("Docker-Content-Digest")
	if got == d || first.header.Get("ETag") != `"`+got+`"` {
		t.Errorf("digest %s, etag %s", got, first.header.Get("ETag"))
	}
	payload := verifySchema1(t, first.body)
	if localacr.DigestOf("", payload) != got || got == localacr.DigestOf("", []byte(first.body)) {
		t.Errorf("the digest %s is not that of the payload", got)
	}
	var m struct {
		SchemaVersion           int
		Name, Tag, Architecture string
		FSLayers                []struct{ BlobSum string }
		History                 []struct{ V1Compatibility string }
	}
	if err := json.Unmarshal(payload, &m); err != nil {
		t.Fatal(err)
	}
	if m.SchemaVersion != 1 || m.Name != "a" || m.Tag != "v1" || m.Architecture != "amd64" || len(m.History) != 1 ||
		len(m.FSLayers) != 1 || m.FSLayers[0].BlobSum != localacr.DigestOf("", []byte("x")) {
		t.Errorf("%+v", m)
	}
	// Such a manifest can be pushed, and keeps the digest of its payload.
	if pushed := r.pushManifest("a", "old", typeSchema1, first.body); pushed != got {
		t.Errorf("pushed as %s, want %s", pushed, got)
	}
	r.do("GET", "/v2/a/manifests/"+got, "").says(200, first.body).has("Content-Type: " + typeSchema1)
	r.checked()
}

// Which part of a signed manifest has the digest, the manifest says itself: that
// must not take the digest of another before it is pushed.
func TestSignedManifestDoesNotTakeAnothersDigest(t *testing.T) {
	r := start(t, localacr.Config{})
	honest := strings.Replace(r.image("a", typeManifest, "x"), `"mediaType":"`+typeManifest+`",`, "", 1) // as any type
	d := localacr.DigestOf("", []byte(honest))
	forged := func(length int, tail, more string) string {
		enc := base64.RawURLEncoding.EncodeToString
		protected := enc(fmt.Appendf(nil, `{"formatLength":%d,"formatTail":%q}`, length, enc([]byte(tail))))
		return fmt.Sprintf(`%s%s"signatures":[{"protected":%q}]}`, honest[:length], more, protected)
	}
	for name, body := range map[string]string{
		"all of it in the tail":        forged(1, honest[1:], `"schemaVersion":1,"fsLayers":[],`),
		"fields beside signatures":     forged(len(honest)-1, "}", `,"fsLayers":[],`),
		"an image, signed as schema 1": forged(len(honest)-1, "}", ","),
	} {
		for _, mediaType := range []string{typeSchema1, "application/vnd.docker.distribution.manifest.v1+json"} {
			if got := r.auth("PUT", "a", "/v2/a/manifests/"+d, body, "Content-Type: "+mediaType); got.status != 400 {
				t.Errorf("%s as %s: %d, want 400", name, mediaType, got.status)
			}
		}
	}
	if pushed := r.pushManifest("a", "v1", typeManifest, honest); pushed != d {
		t.Errorf("pushed as %s, want %s", pushed, d)
	}
	r.do("GET", "/v2/a/manifests/"+d, "", "Accept: "+typeManifest).says(200, honest)
}

// verifySchema1 checks the signature as libtrust does and returns the payload.
func verifySchema1(t *testing.T, signed string) []byte {
	t.Helper()
	var m struct {
		Signatures []struct {
			Header struct {
				Alg string
				JWK struct{ Kty, Crv, X, Y string }
			}
			Signature, Protected string
		}
	}
	if err := json.Unmarshal([]byte(signed), &m); err != nil || len(m.Signatures) != 1 {
		t.Fatal(err, signed)
	}
	decode := func(s string) []byte {
		data, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	sig := m.Signatures[0]
	var protected struct {
		FormatLength int
		FormatTail   string
	}
	if err := json.Unmarshal(decode(sig.Protected), &protected); err != nil {
		t.Fatal(err)
	}
	payload := slices.Concat([]byte(signed[:protected.FormatLength]), decode(protected.FormatTail))
	sum := sha256.Sum256([]byte(sig.Protected + "." + base64.RawURLEncoding.EncodeToString(payload)))
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, decode(sig.Header.JWK.X), decode(sig.Header.JWK.Y)))
	if err != nil {
		t.Fatal(err)
	}
	raw := decode(sig.Signature)
	if !ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])) {
		t.Error("the signature is wrong")
	}
	return payload
}
