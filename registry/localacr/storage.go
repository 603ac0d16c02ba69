package localacr

import "strings"

func parseStorage(path string) (route, bool) {
	_, rest, ok := strings.Cut(path, "//docker/registry/v2/blobs/")
	if !ok {
		return route{}, false
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 4 || parts[3] != "data" || !validDigest(parts[0]+":"+parts[2]) || !strings.HasPrefix(parts[2], parts[1]) {
		return route{}, false
	}
	return route{endpoint: EndpointStorage, ref: parts[0] + ":" + parts[2]}, true
}
