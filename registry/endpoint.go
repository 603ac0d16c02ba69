package registry

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// parseEndpoint turns what a user writes into the registry's base URL: scheme
// and host, no path. Its errors say what would be right.
func parseEndpoint(endpoint string, plainHTTP bool) (*url.URL, error) {
	bad := func(format string, args ...any) (*url.URL, error) {
		return nil, fmt.Errorf("registry endpoint %q: %s", redactUserinfo(endpoint), fmt.Sprintf(format, args...))
	}
	text := endpoint
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	// The error of url.Parse repeats the text, password and all.
	if err != nil || u.Hostname() == "" || u.Opaque != "" {
		return bad("not a host name; write it like myregistry.azurecr.io or https://host:port")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return bad("scheme %s is not known; write https://%s", u.Scheme, u.Host)
	case u.User != nil:
		return bad("user name and password do not belong here; write %s://%s and give the credentials apart", u.Scheme, u.Host)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(text, "#"):
		return bad("it must end after the host; write %s://%s", u.Scheme, u.Host)
	case u.Path != "" && u.Path != "/":
		return bad("it names a registry, not a repository; write %s://%s", u.Scheme, u.Host)
	case !validHost(u):
		return bad("not a host name, with a port from 1 to 65535 if any; write it like myregistry.azurecr.io or https://host:port")
	case u.Scheme == "http" && !plainHTTP && !isLoopback(u):
		return bad("plain http is only allowed to loopback; write https://%s, or allow plain http", u.Host)
	}
	// Logins are kept under names without the port that goes without saying, and
	// Azure's registries are known by theirs.
	host := strings.TrimSuffix(strings.ToLower(u.Host), map[string]string{"https": ":443", "http": ":80"}[u.Scheme])
	if host == "docker.io" || host == "index.docker.io" {
		host = DockerHub
	}
	return &url.URL{Scheme: u.Scheme, Host: host}, nil
}

// DockerHub is the registry that people call docker.io, where the company's web
// pages are.
const DockerHub = "registry-1.docker.io"

func validHost(u *url.URL) bool {
	if port := u.Port(); port != "" {
		if n, err := net.LookupPort("tcp", port); err != nil || n == 0 {
			return false
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return false
	}
	if net.ParseIP(u.Hostname()) != nil {
		return true
	}
	for _, r := range u.Hostname() {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.', r == '_':
		default:
			return false
		}
	}
	return true
}

// redactUserinfo keeps a password that was pasted into the endpoint out of the
// error about it.
func redactUserinfo(endpoint string) string {
	scheme, rest, found := strings.Cut(endpoint, "://")
	if !found {
		scheme, rest = "", endpoint
	} else {
		scheme += "://"
	}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		return scheme + "…@" + rest[at+1:]
	}
	return endpoint
}

// isLoopback: traffic to u does not leave the machine. Of names only localhost
// counts, which every machine's hosts file has: those below it RFC 6761 keeps
// local, too, but Go asks the network's name servers.
func isLoopback(u *url.URL) bool {
	host := u.Hostname()
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	return host == "localhost"
}

// sameOrigin: scheme, host and port agree, default ports included. Only there
// may an Authorization header meant for one go to the other.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}
