package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/acrfs/acrfs/registry"
)

const (
	// dockerConfigLimit is far above what logins add up to.
	dockerConfigLimit = 4 << 20
	// helperLimit bounds what a credential helper says; secrets are some KiB.
	helperLimit = 1 << 20
	// helperTimeout is long enough for someone to unlock a key ring.
	helperTimeout = 30 * time.Second
)

// errNothing: the source has no credential for this registry.
var errNothing = errors.New("no credential")

// dockerLogin reads the login for a registry from a docker configuration, anew
// each time it is asked: docker login and az acr login change it while a mount
// runs.
type dockerLogin struct {
	file string
	host string
	// owner runs credential helpers in place of root, under sudo. nil: we do.
	owner *invoker
}

// Credential returns errNothing when the configuration has no login for the
// registry.
func (d *dockerLogin) Credential(ctx context.Context) (registry.Credential, error) {
	config, err := readDockerConfig(d.file)
	if err != nil {
		return registry.Credential{}, err
	}
	if helper := config.helper(d.host); helper != "" {
		credential, err := d.askHelper(ctx, helper)
		if !errors.Is(err, errNothing) {
			return credential, err
		}
	}
	return config.login(d.host)
}

// dockerConfig is what concerns logins in docker's config.json.
type dockerConfig struct {
	Auths       map[string]dockerAuth `json:"auths"`
	CredHelpers map[string]string     `json:"credHelpers"`
	CredsStore  string                `json:"credsStore"`
}

type dockerAuth struct {
	Auth          string `json:"auth"` // base64 of user:password
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
}

func readDockerConfig(file string) (dockerConfig, error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return dockerConfig{}, nil
	}
	if err != nil {
		return dockerConfig{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, dockerConfigLimit+1))
	if err != nil {
		return dockerConfig{}, err
	}
	config, err := parseDockerConfig(text)
	if err != nil {
		return dockerConfig{}, fmt.Errorf("%s: %w", file, err)
	}
	return config, nil
}

// parseDockerConfig's errors never repeat the text, which holds passwords.
func parseDockerConfig(text []byte) (config dockerConfig, err error) {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch err := json.Unmarshal(text, &config); {
	case err == nil || len(bytes.TrimSpace(text)) == 0:
		return config, nil
	case len(text) > dockerConfigLimit:
		return dockerConfig{}, errors.New("too large for a docker configuration")
	case errors.As(err, &syntax):
		return dockerConfig{}, fmt.Errorf("not JSON, at byte %d", syntax.Offset)
	case errors.As(err, &wrong):
		return dockerConfig{}, fmt.Errorf("not a docker configuration, at byte %d", wrong.Offset)
	}
	return dockerConfig{}, errors.New("not a docker configuration")
}

// helper names the credential helper for a registry; "" when there is none.
func (c dockerConfig) helper(host string) string {
	for _, key := range dockerKeys(host) {
		if name := c.CredHelpers[key]; name != "" {
			return name
		}
	}
	return c.CredsStore
}

// login reads what is in the file itself.
func (c dockerConfig) login(host string) (registry.Credential, error) {
	keys := dockerKeys(host)
	for _, key := range keys {
		if credential := c.Auths[key].credential(); credential != (registry.Credential{}) {
			return credential, nil
		}
	}
	// Old tools wrote whole URLs as keys.
	for key, auth := range c.Auths {
		_, rest, isURL := strings.Cut(key, "://")
		name, _, isPath := strings.Cut(rest, "/")
		if credential := auth.credential(); (isURL || isPath) && name == host && credential != (registry.Credential{}) {
			return credential, nil
		}
	}
	return registry.Credential{}, errNothing
}

func (a dockerAuth) credential() registry.Credential {
	if a.IdentityToken != "" {
		return registry.Credential{IdentityToken: a.IdentityToken}
	}
	if text, err := base64.StdEncoding.DecodeString(a.Auth); err == nil {
		// Docker pads short ones with NUL.
		if user, password, ok := strings.Cut(strings.TrimRight(string(text), "\x00"), ":"); ok && password != "" {
			return registry.Credential{Username: user, Password: password}
		}
	}
	if a.Username != "" && a.Password != "" {
		return registry.Credential{Username: a.Username, Password: a.Password}
	}
	return registry.Credential{}
}

// dockerKeys are the names that docker keeps a registry's login under. Docker
// Hub has one of its own.
func dockerKeys(host string) []string {
	switch host {
	case "docker.io", "index.docker.io", "registry-1.docker.io":
		return []string{"https://index.docker.io/v1/", "index.docker.io", "docker.io"}
	}
	return []string{host, "https://" + host, "http://" + host}
}

// helperName keeps a configuration from naming programs by path.
var helperName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// askHelper runs docker-credential-NAME get, as docker does.
func (d *dockerLogin) askHelper(ctx context.Context, name string) (registry.Credential, error) {
	program := "docker-credential-" + name
	if !helperName.MatchString(name) {
		return registry.Credential{}, fmt.Errorf("%s names a credential helper %q, which is no name of one", d.file, name)
	}
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	cmd := d.owner.command(ctx, program, "get")
	cmd.Stdin = strings.NewReader(dockerKeys(d.host)[0])
	var stdout, stderr limitedBuffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return registry.Credential{}, fmt.Errorf("%s did not answer: %w", program, ctx.Err())
	case errors.As(err, &exit):
		// Helpers report on stdout, in a sentence that docker fixed.
		said := strings.TrimSpace(stdout.String() + " " + stderr.String())
		if strings.Contains(said, "credentials not found") {
			return registry.Credential{}, errNothing
		}
		if strings.Contains(said, "Secret") {
			said = "it failed" // half an answer
		}
		said = strings.Join(strings.Fields(said), " ")
		return registry.Credential{}, fmt.Errorf("%s: %s", program, said[:min(len(said), 200)])
	case err != nil:
		return registry.Credential{}, fmt.Errorf("%s, which %s names: %w", program, d.file, err)
	}
	var answer struct{ Username, Secret string }
	if json.Unmarshal(stdout.Bytes(), &answer) != nil {
		return registry.Credential{}, fmt.Errorf("%s: its answer is not JSON", program)
	}
	if answer.Secret == "" {
		return registry.Credential{}, errNothing
	}
	return registry.Credential{Username: answer.Username, Password: answer.Secret}, nil
}

// limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct{ bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), helperLimit-b.Len())])
	return len(p), nil
}
