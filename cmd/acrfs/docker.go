package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/registry"
)

// dockerConfigLimit is far above what logins add up to.
const dockerConfigLimit = 4 << 20

// errNothing: the source has no credential for this registry.
var errNothing = errors.New("no login for this registry")

// dockerLogin reads the login for a registry from a docker configuration, or
// from podman's file of the same form, anew each time it is asked: docker login
// and az acr login change it while a mount runs.
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
	credential, err := config.login(d.host)
	if err != nil && !errors.Is(err, errNothing) {
		err = fmt.Errorf("%s: %w", d.file, err)
	}
	return credential, err
}

// tool is who keeps logins in the file.
func (d *dockerLogin) tool() string {
	if filepath.Base(d.file) == "config.json" {
		return "docker"
	}
	return "podman"
}

// nullUser is the user name of logins by az acr login.
const nullUser = "00000000-0000-0000-0000-000000000000"

func (d *dockerLogin) login(credential registry.Credential) login {
	shown := d.tool() + " login"
	if user := credential.Username; user != "" && user != "<token>" && user != nullUser {
		shown += " of " + user
	}
	found := login{source: d, way: byDocker, shown: shown + " in " + d.file, tool: d.tool()}
	// Of a login by az acr login three hours are left at most, and nobody but
	// its user can renew it.
	if end := credential.Expires(); !end.IsZero() && time.Until(end) < 24*time.Hour {
		found.note = " (" + dockerAdvice(d.host, d.tool()) + " has to renew it by " + end.Format("15:04") + ")"
	}
	return found
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
	RegistryToken string `json:"registrytoken"`
}

func readDockerConfig(file string) (dockerConfig, error) {
	// Without O_NONBLOCK a named pipe would hold us.
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return dockerConfig{}, nil
	}
	if err != nil {
		return dockerConfig{}, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeNamedPipe != 0 {
		return dockerConfig{}, errors.Join(err, fmt.Errorf("%s is no file", file))
	}
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

// parseDockerConfig reads a docker configuration, of which nothing at all is an empty
// one. Its errors never repeat the text, which holds passwords.
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
		if name, ok := c.CredHelpers[key]; ok {
			return name // "": not even the one for all
		}
	}
	return c.CredsStore
}

// login reads what is in the file itself. What cannot be a login of the
// registry's is an error, lest its user be taken for nobody.
func (c dockerConfig) login(host string) (registry.Credential, error) {
	for _, key := range dockerKeys(host) {
		if auth, ok := c.Auths[key]; ok && auth != (dockerAuth{}) {
			return auth.credential(key)
		}
	}
	// People write names in capitals, and old tools wrote whole URLs. Of
	// several, the same one is taken each time.
	for _, key := range slices.Sorted(maps.Keys(c.Auths)) {
		if auth := c.Auths[key]; strings.EqualFold(dockerHost(key), host) && auth != (dockerAuth{}) {
			return auth.credential(key)
		}
	}
	return registry.Credential{}, errNothing
}

// dockerHost is the registry that a key names. Podman's keys may go on with a
// repository, whose login is not the registry's.
func dockerHost(key string) string {
	if _, rest, isURL := strings.Cut(key, "://"); isURL {
		key, _, _ = strings.Cut(rest, "/")
	}
	return key
}

func (a dockerAuth) credential(key string) (registry.Credential, error) {
	switch {
	case a.IdentityToken != "":
		return registry.Credential{IdentityToken: a.IdentityToken}, nil
	case a.RegistryToken != "":
		return registry.Credential{RegistryToken: a.RegistryToken}, nil
	case a.Auth == "" && a.Username != "" && a.Password != "":
		return registry.Credential{Username: a.Username, Password: a.Password}, nil
	}
	text, err := base64.StdEncoding.DecodeString(a.Auth)
	// Docker pads short ones with NUL.
	user, password, ok := strings.Cut(strings.TrimRight(string(text), "\x00"), ":")
	if err != nil || !ok || password == "" {
		return registry.Credential{}, fmt.Errorf("the login for %q holds no user and password", key)
	}
	return registry.Credential{Username: user, Password: password}, nil
}

// dockerKeys are the names that docker keeps a registry's login under. Docker
// Hub has one of its own.
func dockerKeys(host string) []string {
	if host == registry.DockerHub {
		return []string{"https://index.docker.io/v1/", "index.docker.io", "docker.io"}
	}
	return []string{host, "https://" + host, "http://" + host}
}
