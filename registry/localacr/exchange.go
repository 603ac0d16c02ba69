package localacr

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// exchange is one request on its way to its answer.
type exchange struct {
	*Server
	route
	w     *answer
	r     *http.Request
	query url.Values
	fault Effect // zero when none struck
	lane  *lane  // the connection's bandwidth, or the fault's; nil: without limit
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	rt, fate := parseRoute(r.URL.EscapedPath())
	if rt.endpoint == EndpointReferrers && s.cfg.NoReferrers {
		fate = missed
	}
	if fate != routed {
		rt.endpoint = EndpointNone
	}
	if !s.enter() {
		http.Error(w, "the registry is shutting down", http.StatusServiceUnavailable)
		return
	}
	defer s.leave()
	if r.ContentLength != 0 {
		// net/http waits for a body that nobody reads.
		http.NewResponseController(w).SetReadDeadline(begin.Add(stallLimit))
	}
	x := &exchange{Server: s, route: rt, r: r, query: r.URL.Query()}
	if effect := s.cfg.Faults.strike(rt, r); effect != nil {
		x.fault = *effect
	}
	lane, leave := s.lanes.enter(r.RemoteAddr)
	defer leave()
	if x.lane = lane; x.fault.Bandwidth > 0 {
		x.lane = newLane(x.fault.Bandwidth)
	}
	x.w = newAnswer(x, w)
	s.counters.request(rt.endpoint, r.Method)
	defer func() {
		s.counters.status(x.w.status)
		s.counters.sent.Add(x.w.sent)
		s.cfg.Logger.LogAttrs(r.Context(), slog.LevelDebug, "request",
			slog.String("method", r.Method), slog.String("path", r.URL.EscapedPath()), slog.String("remote", r.RemoteAddr),
			slog.Int("status", x.w.status), slog.Int64("bytes", x.w.sent), slog.Duration("took", time.Since(begin)))
	}()
	x.serve(fate)
}

// serve sends the request through the stations that every request passes.
func (x *exchange) serve(fate fate) {
	if !x.misbehave() || !x.withinLimits() {
		return
	}
	switch fate {
	case unknown:
		x.plain("application/octet-stream", http.StatusNotFound, "Not found")
		return
	case missed:
		x.w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		x.plain("text/plain; charset=utf-8", http.StatusNotFound, "404 page not found\n")
		return
	}
	op, ok := operations[Operation{x.r.Method, x.endpoint}]
	if !ok {
		op = otherMethods(x.endpoint)
	}
	if x.endpoint != EndpointStorage {
		x.commonHeaders(op.kind)
	}
	err := x.run(op)
	if errors.Is(err, errReset) {
		x.w.reset()
	}
	if err != nil && !x.w.wrote {
		x.fail(err)
	}
}

func (x *exchange) run(op operation) error {
	if op.needs != nil {
		if err := x.authorize(op.needs(x)); err != nil {
			return err
		}
	}
	if x.cfg.ReadOnly && op.kind != reading && op.kind != login {
		return errUnsupported()
	}
	return op.serve(x)
}

// statusLeft is nginx's status for a client that left before its answer. Only
// logs and counters see it.
const statusLeft = 499

// fail answers with an error.
func (x *exchange) fail(err error) {
	var api *apiError
	var broken brokenBody
	switch {
	case errors.As(err, &api):
	case errors.As(err, &broken), errors.Is(err, context.Canceled):
		x.cfg.Logger.Debug("the client broke off", "method", x.r.Method, "path", x.r.URL.EscapedPath(), "error", err)
		x.w.Header().Set("Connection", "close")
		x.empty(statusLeft)
		return
	case isClosed(err):
		api = failed(http.StatusServiceUnavailable)
	default:
		x.cfg.Logger.Error("request failed", "method", x.r.Method, "path", x.r.URL.EscapedPath(), "error", err)
		api = failed(http.StatusInternalServerError)
	}
	x.json(api.status, map[string][]errorEntry{"errors": api.entries})
}

// json answers with a document, newline included, as ACR does.
func (x *exchange) json(status int, document any) error {
	body, err := json.Marshal(document)
	if err != nil {
		return err
	}
	return x.body(status, "application/json; charset=utf-8", append(body, '\n'))
}

// body answers with bytes of a known length; HEAD gets their length only.
func (x *exchange) body(status int, contentType string, body []byte) error {
	h := x.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(status)
	if x.r.Method != http.MethodHead {
		x.w.Write(body)
	}
	return nil
}

// empty answers without a body.
func (x *exchange) empty(status int) error {
	if status != http.StatusNoContent && status != http.StatusNotModified {
		x.w.Header().Set("Content-Length", "0")
	}
	x.w.WriteHeader(status)
	return nil
}

func (x *exchange) plain(contentType string, status int, text string) {
	x.body(status, contentType, []byte(text))
}

// commonHeaders sets what every answer of the registry proper carries.
func (x *exchange) commonHeaders(kind kind) {
	h := x.w.Header()
	h["Access-Control-Expose-Headers"] = []string{"Docker-Content-Digest", "WWW-Authenticate", "Link", "X-Ms-Correlation-Request-Id"}
	h.Set("Docker-Distribution-Api-Version", "registry/2.0")
	h.Set("Server", "AzureContainerRegistry")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Ms-Correlation-Request-Id", newUUID())
	if x.r.TLS == nil || !isLoopback(hostOnly(x.r.Host)) {
		// Twice, as ACR has it. Without TLS clients must ignore it; with TLS
		// a browser would keep it for every server on localhost.
		h["Strict-Transport-Security"] = []string{"max-age=31536000; includeSubDomains", "max-age=31536000; includeSubDomains"}
	}
	if kind == deleting || x.onV2() {
		h["X-Ms-Client-Request-Id"] = []string{x.r.Header.Get("X-Ms-Client-Request-Id")}
		h.Set("X-Ms-Request-Id", newUUID())
	}
	switch kind {
	case deleting:
		h.Set("X-Ms-Ratelimit-Remaining-Calls-Per-Second", "8.000000")
	case login:
		h.Set("X-Ms-Ratelimit-Remaining-Calls-Per-Second", "166.650000")
	}
}

// onV2 reports whether the request is to the /v2 half of the registry.
func (x *exchange) onV2() bool { return len(x.r.URL.Path) > 3 && x.r.URL.Path[:4] == "/v2/" }

// registry is the login server's name, host and port.
func (x *exchange) registry() string {
	if x.cfg.Name != "" {
		return x.cfg.Name
	}
	return x.r.Host
}

// scheme is how the client reached us.
func (x *exchange) scheme() string {
	if x.r.TLS != nil {
		return "https"
	}
	return "http"
}
