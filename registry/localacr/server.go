package localacr

import (
	"context"
	"net/http"
)

// Server is a registry: an http.Handler over a data directory.
type Server struct {
	cfg      Config
	counters counters
}

// Open opens, and if need be creates, the registry in cfg.Root. It fails when
// another Server, in this process or another, has the directory open.
func Open(cfg Config) (*Server, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	return &Server{cfg: cfg}, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	http.Error(w, "not yet", http.StatusNotImplemented)
}

// Close ends running requests' waits, finishes accepted changes and lets go
// of the data directory.
func (s *Server) Close() error { return nil }

// Seed puts the sample artifacts in place that the demo shows. What is there
// already stays as it is.
func (s *Server) Seed(ctx context.Context) error { return nil }

// Imported says what Import took in.
type Imported struct {
	Repository string
	Tags       []string
	Manifests  int
	Blobs      int
}

// Import makes the OCI image layout at path, a folder or a tar archive (plain
// or gzip), the content of repository. An empty repository is named after the
// file.
func (s *Server) Import(ctx context.Context, path, repository string) (Imported, error) {
	return Imported{}, nil
}

// Collected says what Collect removed.
type Collected struct {
	Links int   // blobs taken out of a repository
	Blobs int   // files
	Bytes int64 // their size
}

// Collect removes the blobs that no manifest refers to and that no client has
// touched for Config.CollectAfter.
func (s *Server) Collect(ctx context.Context) (Collected, error) { return Collected{}, nil }
