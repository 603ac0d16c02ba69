package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/acrfs/acrfs/registry"
)

const (
	// helperLimit bounds what a credential helper says; secrets are some KiB.
	helperLimit = 1 << 20
	// helperTimeout is long enough for someone to unlock a key ring.
	helperTimeout = 30 * time.Second
)

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
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return registry.Credential{}, fmt.Errorf("%s did not answer within %v", program, helperTimeout)
	case ctx.Err() != nil:
		return registry.Credential{}, ctx.Err()
	case errors.As(err, &exit):
		// Helpers report on stdout, in a sentence that docker fixed.
		said := strings.TrimSpace(stdout.String() + " " + stderr.String())
		if strings.Contains(said, "credentials not found") {
			return registry.Credential{}, errNothing
		}
		if strings.Contains(said, "Secret") {
			said = "it failed" // half an answer
		}
		if said == "" {
			said = exit.Error()
		}
		return registry.Credential{}, fmt.Errorf("%s: %s", program, strings.ToValidUTF8(said[:min(len(said), 200)], ""))
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
