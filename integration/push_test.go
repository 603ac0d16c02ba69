package integration

import (
	"context"
	"testing"
	"time"

	"github.com/acrfs/acrfs/integration/fixture"
)

// pusher is a client, not ours, that puts artifacts into a registry.
type pusher struct {
	name string

	// push sends a manifest, with everything that it needs and that is not
	// there yet, and tags it. Without a tag it is pushed by digest alone.
	push func(ctx context.Context, s *server, repo, tag string, m *fixture.Manifest) error
}

var pushers = []pusher{
	{"go-containerregistry", pushWithGGCR},
	{"oras-go", pushWithORAS},
	{"azcontainerregistry", pushWithSDK},
}

// pushTimeout bounds one push: a large image through a race detector.
const pushTimeout = 2 * time.Minute

// push sends m with the client that takes everything as it is.
func push(t testing.TB, s *server, repo, tag string, m *fixture.Manifest) {
	t.Helper()
	pushWith(t, pushWithGGCRRaw, s, repo, tag, m)
}

func pushWith(t testing.TB, with func(context.Context, *server, string, string, *fixture.Manifest) error, s *server, repo, tag string, m *fixture.Manifest) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), pushTimeout)
	defer cancel()
	if err := with(ctx, s, repo, tag, m); err != nil {
		t.Fatalf("push %s:%s to %s: %v", repo, tag, s.name, err)
	}
}
