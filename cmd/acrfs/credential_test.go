package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/acrfs/acrfs/registry"
)

func TestLoginComesFromFlagsThenEnvironment(t *testing.T) {
	both := environment{username: "env", password: "envpass"}
	for name, row := range map[string]struct {
		flags mountFlags
		env   environment
		stdin string
		want  registry.Credential
		shown string
	}{
		"nothing":            {shown: "anonymous"},
		"environment":        {env: both, want: registry.Credential{Username: "env", Password: "envpass"}, shown: "user env"},
		"flag and stdin":     {flags: mountFlags{username: "ci", passwordStdin: true}, env: both, stdin: "secret\n", want: registry.Credential{Username: "ci", Password: "secret"}, shown: "user ci"},
		"flag, environment":  {flags: mountFlags{username: "ci"}, env: both, want: registry.Credential{Username: "ci", Password: "envpass"}, shown: "user ci"},
		"environment, stdin": {flags: mountFlags{passwordStdin: true}, env: both, stdin: "  spaces stay \r\n", want: registry.Credential{Username: "env", Password: "  spaces stay "}, shown: "user env"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readLogin(t.Context(), &row.flags, row.env, strings.NewReader(row.stdin), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			var credential registry.Credential
			if got.source != nil {
				if credential, err = got.source.Credential(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if credential != row.want || got.shown != row.shown {
				t.Errorf("got %+v shown as %q, want %+v shown as %q", credential, got.shown, row.want, row.shown)
			}
		})
	}
}

func TestHalfALoginIsBadUsageAndTellsNoSecret(t *testing.T) {
	for name, row := range map[string]struct {
		flags mountFlags
		env   environment
		stdin string
		want  string
	}{
		"user alone":         {flags: mountFlags{username: "ci"}, want: "ACRFS_PASSWORD"},
		"user variable":      {env: environment{username: "env"}, want: "ACRFS_PASSWORD"},
		"password variable":  {env: environment{password: "topsecret"}, want: "ACRFS_USERNAME"},
		"stdin without user": {flags: mountFlags{passwordStdin: true}, stdin: "topsecret", want: "--username"},
		"colon in the name":  {flags: mountFlags{username: "c:i", passwordStdin: true}, stdin: "topsecret", want: "no colon"},
		"empty stdin":        {flags: mountFlags{username: "ci", passwordStdin: true}, stdin: "\n", want: "no password on stdin"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readLogin(t.Context(), &row.flags, row.env, strings.NewReader(row.stdin), io.Discard)
			var usage *usageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want bad usage with %q", err, row.want)
			}
			if strings.Contains(err.Error(), "topsecret") {
				t.Errorf("the password is in %q", err)
			}
		})
	}
}
