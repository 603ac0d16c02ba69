package registry

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestManifestIsCheckedAgainstItsDigest(t *testing.T) {
	body := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}`
	d := digest.FromString(body)
	d512 := digest.SHA512.FromString(body)
	other := digest.FromString("other")
	for name, row := range map[string]struct {
		ref    Ref
		header string
		want   digest.Digest
		err    error
	}{
		"tag":                {Ref{Repository: "r", Tag: "v1"}, d.String(), d, nil},
		"tag without header": {Ref{Repository: "r", Tag: "v1"}, "", d, nil},
		"tag, header lies":   {Ref{Repository: "r", Tag: "v1"}, other.String(), "", ErrCorrupt},
		"tag, bad header":    {Ref{Repository: "r", Tag: "v1"}, "sha256:..", d, nil},
		"digest":             {Ref{Repository: "r", Digest: d}, d.String(), d, nil},
		"digest, no header":  {Ref{Repository: "r", Digest: d}, "", d, nil},
		"digest, wrong body": {Ref{Repository: "r", Digest: other}, other.String(), "", ErrCorrupt},
		"sha512":             {Ref{Repository: "r", Digest: d512}, d512.String(), d512, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newPlain(t)
			headers := []string{"Content-Type", ocispec.MediaTypeImageManifest + "; charset=utf-8"}
			if row.header != "" {
				headers = append(headers, "Docker-Content-Digest", row.header)
			}
			f.on("GET /v2/r/manifests/"+row.ref.reference(), reply(200, body, headers...))
			got, desc, err := newClient(t, f.URL).Manifest(t.Context(), row.ref)
			if !errors.Is(err, row.err) {
				t.Fatalf("got %v, want %v", err, row.err)
			}
			if err != nil {
				return
			}
			want := Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: row.want, Size: int64(len(body))}
			if diff := cmp.Diff(want, desc); diff != "" || string(got) != body {
				t.Errorf("got %q (-want +got)\n%s", got, diff)
			}
			accept := strings.Join(f.headers("GET /v2/r/manifests/", "Accept"), "")
			for _, mediaType := range []string{ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, dockerIndex, dockerManifest} {
				if !strings.Contains(accept, mediaType) {
					t.Errorf("Accept lacks %s", mediaType)
				}
			}
		})
	}
}

// signed wraps a schema 1 payload the way libtrust's pretty signatures do.
func signed(payload string) []byte {
	end := strings.LastIndex(payload, "\n}")
	return fmt.Appendf(nil, `%s,`+"\n"+`   "signatures": %s%s`, payload[:end], signatures(end, payload[end:]), payload[end:])
}

// signatures say where the payload of a schema 1 manifest ends, and how.
func signatures(length int, tail string) string {
	protected := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"formatLength":%d,"formatTail":%q,"time":"2024-08-08T00:00:00Z"}`,
		length, base64.RawURLEncoding.EncodeToString([]byte(tail))))
	return fmt.Sprintf(`[{"header":{"alg":"ES256"},"signature":"x","protected":%q}]`, protected)
}

func TestSignedSchema1HasTheDigestOfItsPayload(t *testing.T) {
	payload := "{\n   \"schemaVersion\": 1,\n   \"name\": \"r\"\n}"
	for name, row := range map[string]struct{ payload, body string }{
		"indented": {payload, string(signed(payload))},
		// libtrust signs what is not indented without a line break, and leaves
		// the space after a document where it was.
		"compact":     {`{"schemaVersion":1}`, `{"schemaVersion":1,"signatures":` + signatures(18, "}") + `}`},
		"space after": {payload + "\n", string(signed(payload + "\n"))},
	} {
		t.Run(name, func(t *testing.T) {
			d := digest.FromString(row.payload)
			f := newPlain(t)
			f.on("GET /v2/r/manifests/old", reply(200, row.body, "Content-Type", dockerSchema1Signed, "Docker-Content-Digest", d.String()))
			got, desc, err := newClient(t, f.URL).Manifest(t.Context(), Ref{Repository: "r", Tag: "old"})
			if err != nil || string(got) != row.body || desc.Digest != d {
				t.Errorf("got %q %+v, %v", got, desc, err)
			}
			changed := strings.Replace(row.body, `1`, `1.0`, 1)
			f.on("GET /v2/r/manifests/old", reply(200, changed, "Content-Type", dockerSchema1Signed, "Docker-Content-Digest", d.String()))
			if _, _, err := newClient(t, f.URL).Manifest(t.Context(), Ref{Repository: "r", Tag: "old"}); !errors.Is(err, ErrCorrupt) {
				t.Errorf("changed payload: got %v, want ErrCorrupt", err)
			}
		})
	}
}

// Which part of a signed manifest has the digest, the manifest says itself. None
// of that makes a digest stand for other bytes than its own.
func TestSignaturesDoNotChangeWhatADigestStandsFor(t *testing.T) {
	image := `{"schemaVersion":2,"layers":[]}`
	old := `{"schemaVersion":1,"name":"r"}`
	for name, row := range map[string]struct{ honest, body string }{
		"the whole document in the tail":       {image, `{"schemaVersion":2,"evil":1,"signatures":` + signatures(1, image[1:]) + `}`},
		"part of a schema 1 manifest in it":    {old, `{"schemaVersion":1,"evil":1,"signatures":` + signatures(18, old[18:]) + `}`},
		"more fields before the signatures":    {old, old[:29] + `,"evil":1,"signatures":` + signatures(29, "}") + `}`},
		"more fields after the signatures":     {old, old[:29] + `,"signatures":` + signatures(29, "}") + `,"evil":1}`},
		"signatures in an image manifest":      {image, image[:30] + `,"signatures":` + signatures(30, "}") + `}`},
		"other signatures than it has already": {`{"schemaVersion":1,"signatures":[]}`, `{"schemaVersion":1,"signatures":[],"signatures":` + signatures(34, "}") + `}`},
	} {
		t.Run(name, func(t *testing.T) {
			d := digest.FromString(row.honest)
			f := newPlain(t)
			f.on("GET /v2/r/manifests/"+d.String(), reply(200, row.body, "Content-Type", dockerSchema1Signed))
			got, _, err := newClient(t, f.URL).Manifest(t.Context(), Ref{Repository: "r", Digest: d})
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("got %q, %v, want ErrCorrupt", got, err)
			}
		})
	}
}

// A body is hashed whole, or its payload is a schema 1 document by itself that
// the body adds signatures to and nothing else.
func FuzzSchema1Payload(f *testing.F) {
	f.Add(signed("{\n   \"schemaVersion\": 1\n}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		payload := schema1Payload(body)
		if bytes.Equal(payload, body) {
			return
		}
		beginning, closed := bytes.CutSuffix(bytes.TrimSpace(payload), []byte("}"))
		if !closed || !bytes.HasPrefix(body, bytes.TrimSpace(beginning)) {
			t.Fatalf("%q is not the beginning of %q", payload, body)
		}
		var alone, whole map[string]any
		if err := json.Unmarshal(payload, &alone); err != nil {
			t.Fatalf("%q is no document by itself: %v", payload, err)
		}
		if err := json.Unmarshal(body, &whole); err != nil {
			t.Fatal(err)
		}
		delete(whole, "signatures")
		if diff := cmp.Diff(alone, whole); diff != "" || alone["signatures"] != nil {
			t.Errorf("the body says something else than its payload:\n%s", diff)
		}
	})
}

func TestResolve(t *testing.T) {
	body := `{"schemaVersion":2,"manifests":[]}`
	d := digest.FromString(body)
	get := reply(200, body, "Content-Type", "application/json")
	for name, row := range map[string]struct {
		head http.HandlerFunc
		gets int
		want error
	}{
		"complete":      {reply(200, "", "Content-Type", ocispec.MediaTypeImageIndex, "Docker-Content-Digest", d.String(), "Content-Length", fmt.Sprint(len(body))), 0, nil},
		"no digest":     {reply(200, "", "Content-Type", ocispec.MediaTypeImageIndex, "Content-Length", "34"), 1, nil},
		"no media type": {reply(200, "", "Docker-Content-Digest", d.String(), "Content-Length", "34"), 1, nil},
		"no HEAD":       {reply(405, ""), 1, nil},
		"missing":       {reply(404, ""), 0, ErrNotFound},
		"locked":        {reply(403, ""), 0, ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			f := newPlain(t)
			f.on("HEAD /v2/r/manifests/v1", row.head)
			f.on("GET /v2/r/manifests/v1", get)
			got, err := newClient(t, f.URL).Resolve(t.Context(), Ref{Repository: "r", Tag: "v1"})
			if !errors.Is(err, row.want) {
				t.Fatalf("got %v, want %v", err, row.want)
			}
			want := Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: d, Size: int64(len(body))}
			if err == nil && !cmp.Equal(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if got := f.count("GET /v2/r/manifests/"); got != row.gets {
				t.Errorf("%d bodies fetched, want %d", got, row.gets)
			}
		})
	}
	f := newPlain(t)
	f.on("HEAD /v2/r/manifests/"+someDigest, reply(200, "", "Content-Type", ocispec.MediaTypeImageIndex, "Docker-Content-Digest", d.String(), "Content-Length", "34"))
	if _, err := newClient(t, f.URL).Resolve(t.Context(), Ref{Repository: "r", Digest: someDigest}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("answer about another digest: got %v, want ErrCorrupt", err)
	}
}

// push puts a manifest into a plain fake, under its digest and tags.
func push(f *fake, mediaType, body string, tags ...string) digest.Digest {
	d := digest.FromString(body)
	for _, ref := range append(tags, d.String()) {
		h := reply(200, body, "Content-Type", mediaType, "Docker-Content-Digest", d.String(), "Content-Length", fmt.Sprint(len(body)))
		f.on("GET /v2/r/manifests/"+ref, h)
		f.on("HEAD /v2/r/manifests/"+ref, h)
	}
	return d
}

func TestPlainManifestsAreTagsAndTheirChildren(t *testing.T) {
	f := newPlain(t)
	amd := push(f, ocispec.MediaTypeImageManifest, `{"schemaVersion":2,"a":1}`)
	arm := push(f, ocispec.MediaTypeImageManifest, `{"schemaVersion":2,"a":2}`, "arm")
	inner := push(f, dockerIndex, fmt.Sprintf(`{"manifests":[{"mediaType":%q,"digest":%q,"platform":{"architecture":"arm64","os":"linux"}},{"digest":"../x"}]}`, ocispec.MediaTypeImageManifest, arm), "inner")
	outer := push(f, ocispec.MediaTypeImageIndex, fmt.Sprintf(`{"manifests":[{"mediaType":%q,"digest":%q},{"mediaType":%q,"digest":%q,"platform":{"architecture":"amd64","os":"linux"}},{"mediaType":%q,"digest":%q}]}`,
		dockerIndex, inner, ocispec.MediaTypeImageManifest, amd, ocispec.MediaTypeImageIndex, someDigest), "latest", "v1")
	f.on("GET /v2/r/tags/list", reply(200, `{"name":"r","tags":["v1","arm","gone","latest","inner"]}`))
	c := newClient(t, f.URL)
	got, err := collect(c.Manifests(t.Context(), "r", ListOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	at := map[digest.Digest]int{}
	byDigest := map[digest.Digest]Properties{}
	for i, p := range got {
		at[p.Digest], byDigest[p.Digest] = i, p
	}
	want := map[digest.Digest]Properties{
		outer:      {Digest: outer, MediaType: ocispec.MediaTypeImageIndex, Tags: []string{"latest", "v1"}},
		inner:      {Digest: inner, MediaType: dockerIndex, Tags: []string{"inner"}},
		arm:        {Digest: arm, MediaType: ocispec.MediaTypeImageManifest, Tags: []string{"arm"}, Architecture: "arm64", OS: "linux"},
		amd:        {Digest: amd, MediaType: ocispec.MediaTypeImageManifest, Architecture: "amd64", OS: "linux"},
		someDigest: {Digest: someDigest, MediaType: ocispec.MediaTypeImageIndex},
	}
	if diff := cmp.Diff(want, byDigest); diff != "" || len(got) != len(want) {
		t.Errorf("%d entries (-want +got)\n%s", len(got), diff)
	}
	if at[outer] > at[inner] || at[inner] > at[arm] || at[outer] > at[amd] {
		t.Errorf("an index comes after what it points to: %v", at)
	}
	before := f.count("GET /v2/r/manifests/sha256")
	if _, err := collect(c.Manifests(t.Context(), "r", ListOptions{})); err != nil {
		t.Fatal(err)
	}
	if again := f.count("GET /v2/r/manifests/sha256") - before; again > 1 { // the one that is missing
		t.Errorf("%d indexes were fetched again", again)
	}
	f.on("HEAD /v2/r/manifests/arm", reply(500, ""))
	if _, err := collect(c.Manifests(t.Context(), "r", ListOptions{})); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a tag that cannot be resolved: got %v, want ErrUnavailable", err)
	}
	f.on("HEAD /v2/r/manifests/arm", nil)
	tags, err := collect(c.Tags(t.Context(), "r", ListOptions{Digest: outer}))
	if err != nil || !slices.EqualFunc(tags, []string{"v1", "latest"}, func(a Tag, b string) bool { return a.Name == b }) {
		t.Errorf("tags of the index: got %v, %v", tags, err)
	}
}
