package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"runtime"
	"time"

	"github.com/acrfs/acrfs/cache"
	"github.com/acrfs/acrfs/fs"
	"github.com/acrfs/acrfs/registry"
)

// counters is the answer of /debug/vars.
type counters struct {
	Version  string
	FS       fs.Stats
	Cache    cache.Stats
	Registry registry.Stats
	Runtime  struct {
		Goroutines int
		HeapBytes  uint64
		SysBytes   uint64
	}
}

// serveDebug serves the session's counters and the process's profiles on
// address, until the function it returns is called. An empty address serves
// nothing.
func serveDebug(ctx context.Context, address string, s *session, logger *slog.Logger) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/vars", func(w http.ResponseWriter, _ *http.Request) {
		now := counters{Version: versionLine(), FS: s.mounted.Stats(), Cache: s.cache.Stats(), Registry: s.client.Stats()}
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		now.Runtime.Goroutines = runtime.NumGoroutine()
		now.Runtime.HeapBytes, now.Runtime.SysBytes = mem.HeapAlloc, mem.Sys
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(now)
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	web, err := listen(ctx, "debug-listen", address, localOnly(mux), nil, logger)
	if err != nil {
		return nil, err
	}
	logger.Info("debug server", "url", web.url()+"/debug/vars")
	// Nobody minds a profile that is cut off.
	return func() { web.stop(time.Second) }, nil
}

// localOnly refuses requests that were made to another name than this
// machine's own: a web page may have its name point here.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopback(r.Host) {
			http.Error(w, "only for this machine", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
