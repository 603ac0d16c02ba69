package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/acrfs/acrfs/registry"
)

// login is who we are to the registry, and how people read it.
type login struct {
	source registry.CredentialSource // nil: anonymous
	way    way
	shown  string   // "anonymous", "user alice"
	failed error    // sources that failed before one had a credential
	missed []string // why nobody is who we are, when we are anonymous
}

// passwordLimit is far above any password; ACR's tokens, which are used as
// passwords, have a few KiB.
const passwordLimit = 64 << 10

// readLogin takes the user name from --username or ACRFS_USERNAME and the
// password from stdin or ACRFS_PASSWORD. Anonymous is what is left when
// neither was given; one without the other is bad usage.
func readLogin(m *mountFlags, env environment, stdin io.Reader) (login, error) {
	if way := m.auth.chosen; way != "" && way != "auto" && way != "basic" {
		return login{shown: "anonymous"}, nil // another source was named
	}
	user, password := m.username, env.password
	if user == "" {
		user = env.username
	}
	switch {
	case m.passwordStdin && user == "":
		return login{}, usagef("--password-stdin needs a user: --username NAME")
	case m.passwordStdin:
		var err error
		if password, err = readPassword(stdin); err != nil {
			return login{}, err
		}
	case user == "" && password != "":
		return login{}, usagef("ACRFS_PASSWORD is set without a user: set ACRFS_USERNAME or give --username NAME")
	case user == "":
		return login{shown: "anonymous"}, nil
	case password == "":
		return login{}, usagef("user %q has no password: give --password-stdin or set ACRFS_PASSWORD", user)
	}
	return login{
		source: registry.StaticCredential(registry.Credential{Username: user, Password: password}),
		way:    byPassword,
		shown:  "user " + user,
	}, nil
}

// readPassword reads all of stdin and drops the newline that echo and editors
// leave at its end.
func readPassword(stdin io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(stdin, passwordLimit+1))
	if err != nil {
		return "", fmt.Errorf("read the password from stdin: %w", err)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case password == "":
		return "", usagef("--password-stdin: stdin is empty: pipe the password in")
	case len(text) > passwordLimit:
		return "", errors.New("--password-stdin: more than 64 KiB on stdin is no password")
	}
	return password, nil
}
