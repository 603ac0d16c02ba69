package localacr

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"time"
)

// schema1Manifest is a manifest for Docker before 1.10.
type schema1Manifest struct {
	SchemaVersion int              `json:"schemaVersion"`
	Name          string           `json:"name"`
	Tag           string           `json:"tag"`
	Architecture  string           `json:"architecture"`
	FSLayers      []schema1Layer   `json:"fsLayers"`
	History       []schema1History `json:"history"`
}

// schema1History is a layer's config, as a string of JSON.
type schema1History struct {
	V1Compatibility string `json:"v1Compatibility"`
}

// convertSchema1 makes a schema 1 manifest of a Docker image, for a client
// whose Accept does not know the image's type: ACR still does this. It is
// signed anew each time, so its bytes differ while its digest, which leaves
// the signature out, stays.
func (x *exchange) convertSchema1(f found) (found, error) {
	p, err := parseManifest(f.mediaType, f.data, f.digest)
	if err != nil {
		return f, err
	}
	config := map[string]any{}
	if err := x.readConfig(p, &config); err != nil {
		return f, errManifestTagNotFound(f.tag)
	}
	payload, err := json.MarshalIndent(schema1Of(x.name, f.tag, p, config), "", "   ")
	if err != nil {
		return f, err
	}
	signed, err := signSchema1(payload, time.Now())
	if err != nil {
		return f, err
	}
	return found{digest: digestOf("", payload), mediaType: typeDockerSigned1, data: signed, tag: f.tag}, nil
}

func (x *exchange) readConfig(p parsedManifest, config any) error {
	if p.Config == nil {
		return errManifestInvalid()
	}
	file, err := x.store.files.open(p.Config.Digest)
	if err != nil {
		return err
	}
	defer file.Close()
	return json.NewDecoder(io.LimitReader(file, configLimit)).Decode(config)
}

// schema1Of lists the layers from the top down, each with an id that follows
// from everything below it. The image's config goes with the topmost.
func schema1Of(repo, tag string, p parsedManifest, config map[string]any) schema1Manifest {
	arch, _ := config["architecture"].(string)
	m := schema1Manifest{SchemaVersion: 1, Name: repo, Tag: tag, Architecture: arch, FSLayers: []schema1Layer{}, History: []schema1History{}}
	parent := ""
	for i, l := range p.Layers {
		sum := sha256.Sum256([]byte(parent + " " + l.Digest))
		entry := map[string]any{"created": config["created"]}
		if i == len(p.Layers)-1 {
			for k, v := range config {
				if k != "rootfs" && k != "history" {
					entry[k] = v
				}
			}
		}
		id := hex.EncodeToString(sum[:])
		entry["id"] = id
		if parent != "" {
			entry["parent"] = parent
		}
		parent = id
		text, err := json.Marshal(entry)
		if err != nil {
			panic(err) // it came out of JSON a moment ago
		}
		m.FSLayers = append(m.FSLayers, schema1Layer{l.Digest})
		m.History = append(m.History, schema1History{string(text)})
	}
	slices.Reverse(m.FSLayers)
	slices.Reverse(m.History)
	return m
}

// signSchema1 puts a signature into an indented JSON object, the way of
// libtrust: all of it but the end, then the signatures, then the end.
func signSchema1(payload []byte, now time.Time) ([]byte, error) {
	const tail = "\n}"
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	enc := base64.RawURLEncoding.EncodeToString
	body := payload[:len(payload)-len(tail)]
	protected, err := json.Marshal(map[string]any{"formatLength": len(body), "formatTail": enc([]byte(tail)), "time": now.UTC().Format(time.RFC3339)})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(enc(protected) + "." + enc(payload)))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return nil, err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	point, err := key.PublicKey.Bytes() // 4, X, Y
	if err != nil {
		return nil, err
	}
	keyID, err := keyID(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	signatures, err := json.MarshalIndent([]any{map[string]any{
		"header": map[string]any{
			"alg": "ES256",
			"jwk": map[string]string{"crv": "P-256", "kid": keyID, "kty": "EC", "x": enc(point[1:33]), "y": enc(point[33:])},
		},
		"signature": enc(signature),
		"protected": enc(protected),
	}}, "   ", "   ")
	if err != nil {
		return nil, err
	}
	return slices.Concat(body, []byte(",\n   \"signatures\": "), signatures, []byte(tail)), nil
}
