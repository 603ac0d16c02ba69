package localacr

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

const helloRepository = "library/hello-world"

// sampleTime is when the samples say they were made.
var sampleTime = time.Date(2024, time.January, 24, 6, 16, 1, 0, time.UTC)

// helloWorld plants the image, in two versions for two platforms.
func (p planter) helloWorld() error {
	had, err := p.has(helloRepository, "v1")
	if err != nil {
		return err
	}
	if _, err := p.release("v1", gzipped, "v1"); err != nil {
		return err
	}
	if !had {
		if err := p.lock(helloRepository, "v1"); err != nil {
			return err
		}
	}
	if _, err := p.image("v2-rc1", "amd64", gzipped); err != nil {
		return err
	}
	v2, err := p.release("v2", gzipped, "v2", "latest")
	if err != nil {
		return err
	}
	if _, err := p.image("v2", "amd64", zstandard, "zstd"); err != nil {
		return err
	}
	return p.supplements(v2)
}

// release plants an index of the version for all platforms.
func (p planter) release(version string, pack packer, tags ...string) (wireDescriptor, error) {
	index := wireManifest{SchemaVersion: 2, MediaType: typeOCIIndex, Annotations: map[string]string{"org.opencontainers.image.version": version}}
	for _, arch := range []string{"amd64", "arm64"} {
		d, err := p.image(version, arch, pack)
		if err != nil {
			return d, err
		}
		d.Platform = &wirePlatform{Architecture: arch, OS: "linux"}
		if arch == "arm64" {
			d.Platform.Variant = "v8"
		}
		index.Manifests = append(index.Manifests, d)
	}
	return p.manifest(helloRepository, index, tags...)
}

// image plants one image: a root file system that all share, a layer for the
// platform, a layer for the version.
func (p planter) image(version, arch string, pack packer, tags ...string) (wireDescriptor, error) {
	layers := []layer{
		pack.layer(rootFiles),
		pack.layer([]file{
			{name: "usr/lib/hello/", mode: 0o755},
			{name: "usr/lib/hello/platform", mode: 0o644, data: "linux/" + arch + "\n"},
		}),
		pack.layer([]file{
			{name: "etc/hello.conf", mode: 0o644, data: "# what bin/hello says\ngreeting = Hello from your registry!\nversion = " + version + "\n"},
			{name: "usr/share/hello/", mode: 0o755},
			{name: "usr/share/hello/VERSION", mode: 0o644, data: version + "\n"},
		}),
	}
	var diffIDs []string
	var history []map[string]string
	for i, l := range layers {
		diffIDs = append(diffIDs, l.diffID)
		history = append(history, map[string]string{
			"created": sampleTime.Format(time.RFC3339), "created_by": []string{"ADD rootfs /", "ADD platform /", "ADD release /"}[i],
		})
	}
	config, err := json.Marshal(map[string]any{
		"architecture": arch, "os": "linux", "created": sampleTime.Format(time.RFC3339),
		"config": map[string]any{
			"Cmd": []string{"/bin/hello"}, "Env": []string{"PATH=/bin:/usr/bin"}, "WorkingDir": "/",
			"Labels": map[string]string{"org.opencontainers.image.version": version},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}, "history": history,
	})
	if err != nil {
		return wireDescriptor{}, err
	}
	return p.artifact(helloRepository, wireManifest{}, layer{mediaType: typeOCIConfig, data: config}, layers, tags...)
}

// rootFiles are a root file system in the small.
var rootFiles = []file{
	{name: "bin/", mode: 0o755},
	{name: "bin/hello", mode: 0o755, data: "#!/bin/sh\n. /etc/os-release\nsed -n 's/^greeting = //p' /etc/hello.conf\necho \"This is $PRETTY_NAME on $(cat /usr/lib/hello/platform).\"\n"},
	{name: "etc/", mode: 0o755},
	{name: "etc/os-release", mode: 0o644, data: "ID=hello\nNAME=\"Hello Linux\"\nVERSION_ID=1\nPRETTY_NAME=\"Hello Linux 1\"\nHOME_URL=\"https://example.com/hello\"\n"},
	{name: "etc/passwd", mode: 0o644, data: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"},
	{name: "tmp/", mode: 0o1777},
	{name: "usr/", mode: 0o755},
	{name: "usr/bin/", mode: 0o755},
	{name: "usr/bin/hello", link: "../../bin/hello"},
	{name: "usr/lib/", mode: 0o755},
	{name: "usr/share/", mode: 0o755},
	{name: "usr/share/doc/", mode: 0o755},
	{name: "usr/share/doc/README", mode: 0o644, data: strings.Repeat("A file system in a registry is a directory like any other.\n", 64)},
}

// emptyConfig is what artifacts without a config have.
var emptyConfig = layer{mediaType: typeEmpty, data: []byte("{}")}

// supplements plants an SBOM and a signature, which refer to the image.
func (p planter) supplements(subject wireDescriptor) error {
	subject.ArtifactType = ""
	sbom := layer{mediaType: "application/spdx+json", title: "sbom.spdx.json", data: []byte(
		`{"spdxVersion":"SPDX-2.3","dataLicense":"CC0-1.0","SPDXID":"SPDXRef-DOCUMENT","name":"hello-world",` +
			`"documentNamespace":"https://example.com/hello-world","creationInfo":{"created":"2024-01-24T06:16:01Z","creators":["Tool: sample"]},` +
			`"packages":[{"name":"hello","SPDXID":"SPDXRef-hello","versionInfo":"2","downloadLocation":"NOASSERTION","licenseConcluded":"MIT"}]}` + "\n")}
	if _, err := p.artifact(helloRepository, wireManifest{
		ArtifactType: "application/spdx+json", Subject: &subject,
		Annotations: map[string]string{"org.opencontainers.image.created": sampleTime.Format(time.RFC3339)},
	}, emptyConfig, []layer{sbom}); err != nil {
		return err
	}
	signature := layer{mediaType: "application/jose+json", data: fmt.Appendf(nil, "{\"payload\":%q,\"signature\":\"a sample, signed by nobody\"}\n", subject.Digest)}
	_, err := p.artifact(helloRepository, wireManifest{
		ArtifactType: "application/vnd.cncf.notary.signature", Subject: &subject,
	}, emptyConfig, []layer{signature})
	return err
}

// docs plants a repository whose name begins with another's.
func (p planter) docs() error {
	_, err := p.artifact(helloRepository+"/docs", wireManifest{ArtifactType: "application/vnd.example.docs"}, emptyConfig, []layer{
		{mediaType: "text/markdown", title: "README.md", data: []byte("# hello-world\n\nIt says hello. See [usage](guide/usage.md).\n")},
		{mediaType: "text/markdown", title: "guide/usage.md", data: []byte("# Usage\n\n    hello\n")},
	}, "latest")
	return err
}

// weightsSize is large enough to be read in ranges, and small enough to make
// in no time.
const weightsSize = 4 << 20

// model plants what a machine learning model looks like in a registry.
func (p planter) model() error {
	vocabulary := ""
	for i := range 256 {
		vocabulary += fmt.Sprintf("token%03d\n", i)
	}
	_, err := p.artifact("models/tiny", wireManifest{
		ArtifactType: "application/vnd.example.model",
		Annotations:  map[string]string{"org.opencontainers.image.description": "Four MiB of noise that plays a language model"},
	}, layer{mediaType: "application/vnd.example.model.config+json", data: []byte(`{"name":"tiny","parameters":1048576}`)}, []layer{
		{mediaType: "application/octet-stream", title: "weights.bin", data: noise(weightsSize)},
		{mediaType: "application/json", title: "config.json", data: []byte("{\n  \"layers\": 2,\n  \"heads\": 4,\n  \"dtype\": \"float32\"\n}\n")},
		{mediaType: "application/json", title: "tokenizer/tokenizer.json", data: []byte("{\"model\": \"words\", \"vocabulary\": \"vocab.txt\"}\n")},
		{mediaType: "text/plain", title: "tokenizer/vocab.txt", data: []byte(vocabulary)},
		{mediaType: "text/plain", title: "LICENSE", data: []byte("Do what you like with it.\n")},
	}, "1.0", "latest")
	return err
}

// noise is n bytes that look random and are always the same.
func noise(n int) []byte {
	out := make([]byte, 0, n+sha256.Size)
	for i := uint64(0); len(out) < n; i++ {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, i))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

// chart plants a Helm chart.
func (p planter) chart() error {
	metadata := "apiVersion: v2\nname: hello\nversion: 0.1.0\nappVersion: \"2\"\ndescription: Says hello\n"
	chart := gzipped.layer([]file{
		{name: "hello/Chart.yaml", mode: 0o644, data: metadata},
		{name: "hello/values.yaml", mode: 0o644, data: "image: library/hello-world\ntag: v2\n"},
		{name: "hello/templates/job.yaml", mode: 0o644, data: "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: hello\nspec:\n  template:\n    spec:\n      restartPolicy: Never\n      containers:\n        - name: hello\n          image: \"{{ .Values.image }}:{{ .Values.tag }}\"\n"},
	})
	chart.mediaType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	_, err := p.artifact("charts/hello", wireManifest{
		Annotations: map[string]string{"org.opencontainers.image.title": "hello", "org.opencontainers.image.version": "0.1.0"},
	}, layer{mediaType: "application/vnd.cncf.helm.config.v1+json", data: []byte(`{"name":"hello","version":"0.1.0","description":"Says hello","apiVersion":"v2","appVersion":"2"}`)},
		[]layer{chart}, "0.1.0")
	return err
}
