package main

import (
	"context"
	"io"
	"strings"

	"github.com/acrfs/acrfs/registry"
)

// login is who we are to the registry, and how people read it.
type login struct {
	source registry.CredentialSource // nil: anonymous
	way    way
	shown  string   // "anonymous", "user alice"
	note   string   // what the user should know of it: until when it is good, where none was found, that it is refused
	tool   string   // byDocker: docker or podman
	entra  string   // byEntra: which of entraSources
	failed error    // sources that failed before one had a credential
	missed []string // why nobody is who we are, when we are anonymous
}

// readLogin takes the user name from --username or ACRFS_USERNAME and the
// password from stdin or ACRFS_PASSWORD; for a name alone, whoever sits at the
// terminal is asked. Anonymous is what is left when neither was given; one
// without the other is bad usage.
func readLogin(ctx context.Context, m *mountFlags, env environment, stdin io.Reader, prompt io.Writer) (login, error) {
	if way := m.auth.chosen; way != "" && way != "auto" && way != "basic" {
		return login{shown: "anonymous"}, nil // another source was named
	}
	user, password := m.username, env.password
	if user == "" {
		user = env.username
	}
	_, typed := isTerminal(stdin)
	switch {
	case m.passwordStdin && user == "":
		return login{}, usagef("--password-stdin needs a user: --username NAME")
	case strings.Contains(user, ":"):
		return login{}, usagef("user %q: a user name has no colon", user) // it ends there, says RFC 7617
	case m.passwordStdin, typed && user != "" && password == "":
		var err error
		if password, err = readPassword(ctx, user, stdin, prompt); err != nil {
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
