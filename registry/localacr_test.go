package registry_test

import (
	"errors"
	"io"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/registry"
	"github.com/acrfs/acrfs/registry/localacr"
)

// TestAgainstTheLocalRegistry runs the client against the embedded registry,
// which was written from the same specification by other hands.
func TestAgainstTheLocalRegistry(t *testing.T) {
	for name, cfg := range map[string]localacr.Config{
		"redirected blobs": {},
		"direct blobs":     {DirectBlobs: true},
		"basic":            {Auth: localacr.AuthBasic, Users: []localacr.User{{Name: "me", Passwords: []string{"secret"}, Admin: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Root = t.TempDir()
			server, err := localacr.Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { server.Close() })
			if err := server.Seed(t.Context()); err != nil {
				t.Fatal(err)
			}
			web := httptest.NewServer(server)
			t.Cleanup(web.Close)
			c, err := registry.New(registry.Config{
				Endpoint:    web.URL,
				Credentials: registry.StaticCredential(registry.Credential{Username: "me", Password: "secret"}),
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			walk(t, c)
			change(t, c)
		})
	}
}

// walk reads everything that a mount would.
func walk(t *testing.T, c *registry.Client) {
	t.Helper()
	ctx := t.Context()
	if err := c.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	repos := all(t, c.Repositories(ctx))
	if !slices.Contains(repos, "library/hello-world") || !slices.IsSorted(repos) {
		t.Errorf("got repositories %q", repos)
	}
	blobs := 0
	for _, repo := range repos {
		tags := all(t, c.Tags(ctx, repo, registry.ListOptions{Order: registry.OrderNewestFirst}))
		manifests := all(t, c.Manifests(ctx, repo, registry.ListOptions{}))
		p, err := c.Properties(ctx, registry.Ref{Repository: repo})
		if err != nil || p.TagCount != len(tags) || p.ManifestCount != len(manifests) {
			t.Errorf("%s: got %+v, %v; listed %d tags and %d manifests", repo, p, err, len(tags), len(manifests))
		}
		for _, tag := range tags {
			ref := registry.Ref{Repository: repo, Tag: tag.Name}
			d, err := c.Resolve(ctx, ref)
			if err != nil || d.Digest != tag.Properties.Digest {
				t.Errorf("%s: resolved to %v, %v; listed as %v", ref, d.Digest, err, tag.Properties.Digest)
			}
			if p, err := c.Properties(ctx, ref); err != nil || !p.Access.Known || !p.Updated.Equal(tag.Properties.Updated) {
				t.Errorf("%s: got %+v, %v", ref, p, err)
			}
		}
		for _, m := range manifests {
			ref := registry.Ref{Repository: repo, Digest: m.Digest}
			body, d, err := c.Manifest(ctx, ref)
			if err != nil || d.MediaType != m.MediaType || digest.FromBytes(body) != m.Digest {
				t.Errorf("%s: got %+v, %v", ref, d, err)
			}
			for _, layer := range layersOf(t, body) {
				blobs++
				readBack(t, c, repo, layer)
			}
		}
	}
	if blobs == 0 {
		t.Error("no blob was read")
	}
}

// change deletes and locks.
func change(t *testing.T, c *registry.Client) {
	t.Helper()
	ctx := t.Context()
	tag := registry.Ref{Repository: "library/hello-world", Tag: "latest"}
	d, err := c.Resolve(ctx, tag)
	if err != nil {
		t.Fatal(err)
	}
	no, yes := false, true
	p, err := c.Update(ctx, tag, registry.AccessPatch{CanDelete: &no})
	if err != nil || p.Access.CanDelete || !p.Access.CanWrite {
		t.Errorf("lock: got %+v, %v", p, err)
	}
	if err := c.Delete(ctx, tag); !errors.Is(err, registry.ErrLocked) {
		t.Errorf("delete a locked tag: got %v, want ErrLocked", err)
	}
	if _, err := c.Update(ctx, tag, registry.AccessPatch{CanDelete: &yes}); err != nil {
		t.Errorf("unlock: %v", err)
	}
	if err := c.Delete(ctx, tag); err != nil {
		t.Errorf("delete tag: %v", err)
	}
	if err := c.Delete(ctx, tag); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("delete it again: got %v, want ErrNotFound", err)
	}
	if _, err := c.Resolve(ctx, registry.Ref{Repository: tag.Repository, Digest: d.Digest}); err != nil {
		t.Errorf("the manifest went with its tag: %v", err)
	}
	docs := registry.Ref{Repository: "library/hello-world/docs"}
	if err := c.Delete(ctx, docs); err != nil {
		t.Errorf("delete repository: %v", err)
	}
	if _, err := c.Properties(ctx, docs); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("deleted repository: got %v, want ErrNotFound", err)
	}
}

func readBack(t *testing.T, c *registry.Client, repo string, layer registry.Descriptor) {
	t.Helper()
	r, err := c.OpenBlob(t.Context(), repo, layer.Digest, 0, -1)
	if err != nil {
		t.Errorf("%s: %v", layer.Digest, err)
		return
	}
	defer r.Close()
	body, err := io.ReadAll(r)
	if err != nil || digest.FromBytes(body) != layer.Digest {
		t.Errorf("%s: got %d bytes, %v", layer.Digest, len(body), err)
	}
	size, err := c.BlobSize(t.Context(), repo, layer.Digest)
	if err != nil || size != layer.Size || size != int64(len(body)) {
		t.Errorf("%s: size %d, %v; want %d", layer.Digest, size, err, layer.Size)
	}
}
