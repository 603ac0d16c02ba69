package registry

import (
	"bytes"
	"encoding/base64"
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
	protected := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"formatLength":%d,"formatTail":%q,"time":"2024-08-08T00:00:00Z"}`,
		end, base64.RawURLEncoding.EncodeToString([]byte(payload[end:]))))
	return fmt.Appendf(nil, `%s,`+"\n"+`   "signatures": [{"header":{"alg":"ES256"},"signature":"x","protected":%q}]%s`, payload[:end], protected, payload[end:])
}

func TestSignedSchema1HasTheDigestOfItsPayload(t *testing.T) {
	payload := "{\n   \"schemaVersion\": 1,\n   \"name\": \"r\"\n}"
	body := signed(payload)
	f := newPlain(t)
	f.on("GET /v2/r/manifests/old", reply(200, string(body), "Content-Type", dockerSchema1Signed,
		"Docker-Content-Digest", digest.FromString(payload).String()))
	got, desc, err := newClient(t, f.URL).Manifest(t.Context(), Ref{Repository: "r", Tag: "old"})
	if err != nil || !bytes.Equal(got, body) || desc.Digest != digest.FromString(payload) {
		t.Errorf("got %q %+v, %v", got, desc, err)
	}
	f.on("GET /v2/r/manifests/old", reply(200, strings.Replace(string(body), `"name": "r"`, `"name": "x"`, 1), "Content-Type", dockerSchema1Signed,
		"Docker-Content-Digest", digest.FromString(payload).String()))
	if _, _, err := newClient(t, f.URL).Manifest(t.Context(), Ref{Repository: "r", Tag: "old"}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("changed payload: got %v, want ErrCorrupt", err)
	}
}

func FuzzSchema1Payload(f *testing.F) {
	f.Add(signed("{\n   \"schemaVersion\": 1\n}"))
	f.Add([]byte(`{"signatures":[{"protected":"eyJmb3JtYXRMZW5ndGgiOi0xfQ"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(schema1Payload(body)) > 2*len(body) {
			t.Error("the payload is longer than what holds it")
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
