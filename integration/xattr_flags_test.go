package integration

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"

	acr "github.com/Azure/azure-sdk-for-go/sdk/containers/azcontainerregistry"
	"golang.org/x/sys/unix"

	"github.com/acrfs/acrfs/integration/fixture"
)

// TestHiddenRepositoryIsShownAgainByItsName, by another mount than the one that
// hid it: of the folder above it, the registry does not tell at all.
func TestHiddenRepositoryIsShownAgainByItsName(t *testing.T) {
	s := newLocalACR(t)
	push(t, s, "team/app", "v1", fixture.Chart("1"))
	push(t, s, "other", "v1", fixture.Chart("1"))
	m := mountServer(t, s, "--writable")
	shell(t, `setfattr -n user.acr.can_list -v false "$1"; ! ls "$2" | grep team`, m.path("team/app"), m.dir)
	m.unmount()
	m = mountServer(t, s, "--writable", "--repository", "team/app", "--repository", "other", "--repository", "never/was")
	if got := names(t, m.dir); !slices.Equal(got, []string{"other", "team"}) {
		t.Errorf("the mount shows %q", got)
	}
	checkArtifact(t, m.tagDir("team/app", "v1"), fixture.Chart("1"))
	shell(t, `setfattr -n user.acr.can_list -v true "$1"`, m.path("team/app"))
	m.unmount()
	m = mountServer(t, s)
	if got := names(t, m.dir); !slices.Equal(got, []string{"other", "team"}) {
		t.Errorf("after it was shown again a mount has %q", got)
	}
}

// TestFlagsSetAtOnceByTwoMountsAreBothSet has two mounts set different flags of
// the same items, at once and again and again. What they send names one flag.
func TestFlagsSetAtOnceByTwoMountsAreBothSet(t *testing.T) {
	s := newLocalACR(t)
	chart := fixture.Chart("1")
	push(t, s, "app", "v1", chart)
	mounts := []*mount{mountServer(t, s, "--writable"), mountServer(t, s, "--writable")}
	flags := [][2]string{{"user.acr.can_delete", "deleteEnabled"}, {"user.acr.can_read", "readEnabled"}}

	var mu sync.Mutex // guards bodies
	bodies := map[string]int{}
	s.gate.add(func(r *http.Request) bool { return r.Method == http.MethodPatch }, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		bodies[string(bytes.TrimSpace(body))]++
		mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
	const rounds = 20
	var wg sync.WaitGroup
	for i, m := range mounts {
		for _, path := range []string{m.path("app"), m.tagDir("app", "v1"), m.manifestDir("app", chart.Digest)} {
			wg.Go(func() {
				for round := range rounds + i { // so that the first ends with true, the second with false
					value := []string{"false", "true"}[round%2]
					if err := unix.Lsetxattr(path, flags[i][0], []byte(value), 0); err != nil {
						t.Errorf("set %s of %s: %v", flags[i][0], path, err)
					}
					if got := attribute(t, path, flags[i][0]); got != value {
						t.Errorf("%s of %s is %q just after it was set to %s", flags[i][0], path, got, value)
					}
				}
			})
		}
	}
	wg.Wait()
	sent := []string{}
	for _, f := range flags {
		sent = append(sent, `{"`+f[1]+`":false}`, `{"`+f[1]+`":true}`)
	}
	mu.Lock()
	for body, n := range bodies {
		if !slices.Contains(sent, body) {
			t.Errorf("%d times %s was sent; want one flag alone", n, body)
		}
	}
	mu.Unlock()
	client := sdkClient(t, s)
	repo := next(t, func() (acr.ClientGetRepositoryPropertiesResponse, error) {
		return client.GetRepositoryProperties(t.Context(), "app", nil)
	})
	tag := next(t, func() (acr.ClientGetTagPropertiesResponse, error) {
		return client.GetTagProperties(t.Context(), "app", "v1", nil)
	})
	manifest := next(t, func() (acr.ClientGetManifestPropertiesResponse, error) {
		return client.GetManifestProperties(t.Context(), "app", chart.Digest.String(), nil)
	})
	for what, got := range map[string][]bool{
		"repository": {*repo.ChangeableAttributes.CanDelete, *repo.ChangeableAttributes.CanRead, *repo.ChangeableAttributes.CanWrite, *repo.ChangeableAttributes.CanList},
		"tag":        {*tag.Tag.ChangeableAttributes.CanDelete, *tag.Tag.ChangeableAttributes.CanRead, *tag.Tag.ChangeableAttributes.CanWrite, *tag.Tag.ChangeableAttributes.CanList},
		"manifest":   {*manifest.Manifest.ChangeableAttributes.CanDelete, *manifest.Manifest.ChangeableAttributes.CanRead, *manifest.Manifest.ChangeableAttributes.CanWrite, *manifest.Manifest.ChangeableAttributes.CanList},
	} {
		if want := []bool{true, false, true, true}; !slices.Equal(got, want) {
			t.Errorf("flags of the %s are %v, want %v", what, got, want)
		}
	}
}
