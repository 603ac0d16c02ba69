package localacr

// Check compares all indexes and counters with what they are derived from.
func (s *Server) Check() error { return s.store.view(view.check) }

// WrapGzip and WrapZstd are the samples' compressors.
var WrapGzip, WrapZstd = wrapGzip, wrapZstd

// Parsers that see foreign input.
var (
	ParseRange        = parseRange
	ParseContentRange = parseContentRange
	ParseScopes       = func(field string) int { return len(parseScopes([]string{field})) }
	ParseManifest     = func(mediaType string, data []byte, want string) (string, error) {
		p, err := parseManifest(mediaType, data, want)
		return p.digest, err
	}
	PlainBase64 = plainBase64
	DigestOf    = digestOf
)

// ParseRoute returns a path's endpoint, repository and reference.
func ParseRoute(path string) (e Endpoint, name, ref string, ok bool) {
	rt, fate := parseRoute(path)
	return rt.endpoint, rt.name, rt.ref, fate == routed
}

// ReadState reports whether an upload state is one of ours.
func (s *Server) ReadState(state string) bool {
	_, ok := s.uploads.readState(state)
	return ok
}
