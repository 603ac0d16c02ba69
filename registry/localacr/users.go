package localacr

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// User is an admin account, a repository-scoped token of ACR or an identity of
// Microsoft Entra: a name, its passwords, and what it may do.
type User struct {
	Name      string   `json:"name"`
	Passwords []string `json:"passwords,omitempty"`

	// Expires ends the passwords. Zero: never.
	Expires time.Time `json:"expires,omitzero"`

	// Entra is the object or application id of an identity of Microsoft Entra
	// whose rights these are, with AuthEntra. It needs no password.
	Entra string `json:"entra,omitempty"`

	// Admin may do everything, and Actions are ignored.
	Admin bool `json:"admin,omitempty"`

	// Actions are those of an ACR scope map, in its own spelling:
	//
	//	repositories/team/app/content/read     repositories/*/content/read
	//	repositories/team/app/content/write    repositories/team/*/metadata/read
	//
	// The last two words are content/read, content/write, content/delete,
	// metadata/read or metadata/write; a wildcard stands only at the end of
	// the repository.
	Actions []string `json:"actions,omitempty"`
}

// usersFileLimit is far above what a file written by hand holds.
const usersFileLimit = 1 << 20

// ReadUsers reads the users file of AuthBasic and AuthAnonymous:
//
//	{"users": [
//	  {"name": "admin", "passwords": ["one", "two"], "admin": true},
//	  {"name": "ci", "passwords": ["three"], "actions": ["repositories/team/*/content/read"]}
//	]}
func ReadUsers(path string) ([]User, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("users file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, usersFileLimit+1))
	if err != nil {
		return nil, fmt.Errorf("users file: %w", err)
	}
	if len(data) > usersFileLimit {
		return nil, fmt.Errorf("users file %s is larger than 1 MiB", path)
	}
	var file struct {
		Users []User `json:"users"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf(`users file %s: %w: want {"users": [{"name": …}, …]}`, path, explainJSON(err))
	}
	seen := map[string]bool{}
	for _, u := range file.Users {
		if err := u.check(); err != nil {
			return nil, fmt.Errorf("users file %s: %w", path, err)
		}
		if seen[u.Name] {
			return nil, fmt.Errorf("users file %s: user %q appears twice", path, u.Name)
		}
		seen[u.Name] = true
	}
	return file.Users, nil
}

// explainJSON is err in the words of whoever wrote the file, where the decoder's
// are about Go.
func explainJSON(err error) error {
	if mistyped := (*json.UnmarshalTypeError)(nil); errors.As(err, &mistyped) {
		return fmt.Errorf("%s at byte %d", mistyped.Value, mistyped.Offset)
	}
	if err == io.EOF {
		return errors.New("it is empty")
	}
	return err
}

func (u User) check() error {
	switch {
	case u.Name == "" || strings.Contains(u.Name, ":"):
		return fmt.Errorf("user name %q is empty or has a colon", u.Name)
	case len(u.Passwords) == 0 && u.Entra == "":
		return fmt.Errorf("user %q has no password", u.Name)
	}
	for _, p := range u.Passwords {
		if p == "" {
			return fmt.Errorf("user %q has an empty password", u.Name)
		}
	}
	for _, a := range u.Actions {
		if _, _, ok := splitAction(a); !ok {
			return fmt.Errorf("user %q: action %q; want repositories/NAME/content/read or the like", u.Name, a)
		}
	}
	return nil
}

// admits reports whether password is one of the user's and still good.
func (u User) admits(password string, now time.Time) bool {
	if !u.Expires.IsZero() && !now.Before(u.Expires) {
		return false
	}
	got := sha256.Sum256([]byte(password))
	ok := 0
	for _, p := range u.Passwords {
		want := sha256.Sum256([]byte(p))
		ok |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return ok == 1
}

// may reports whether the user may do action, spelled as in a token's scope,
// in repository. The repository "*" stands for all of them.
func (u User) may(repository, action string) bool {
	if u.Admin {
		return true
	}
	for _, a := range u.Actions {
		pattern, granted, ok := splitAction(a)
		if ok && granted == action && matchRepository(pattern, repository) {
			return true
		}
	}
	return false
}

// splitAction takes a scope map's action apart: which repositories, and which
// action of a token's scope it grants.
func splitAction(s string) (pattern, action string, ok bool) {
	s, ok = strings.CutPrefix(s, "repositories/")
	if !ok {
		return "", "", false
	}
	for suffix, action := range map[string]string{
		"/content/read":   "pull",
		"/content/write":  "push",
		"/content/delete": "delete",
		"/metadata/read":  "metadata_read",
		"/metadata/write": "metadata_write",
	} {
		pattern, found := strings.CutSuffix(s, suffix)
		if !found {
			continue
		}
		name, _ := strings.CutSuffix(strings.TrimSuffix(pattern, "*"), "/")
		return pattern, action, pattern == "*" || validRepository(name)
	}
	return "", "", false
}

func matchRepository(pattern, repository string) bool {
	if prefix, wild := strings.CutSuffix(pattern, "*"); wild {
		return strings.HasPrefix(repository, prefix)
	}
	return pattern == repository
}
