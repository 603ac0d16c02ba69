package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// machineIdentity is where a virtual machine in Azure gets tokens of its own
// identity. Other clouds answer at the same address.
const machineIdentity = "169.254.169.254"

// entraTransport is how Microsoft Entra, and the endpoints of managed
// identities, are reached.
func entraTransport(roots *x509.CertPool) http.RoundTripper {
	return azuresOwn{&http.Transport{
		Proxy:               aroundProxies,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     30 * time.Second, // it is used every few hours
		ForceAttemptHTTP2:   true,
	}}
}

// aroundProxies is the proxy that the environment names, but not for the
// endpoint of a virtual machine's own identity. No proxy can reach that; one
// that says so would look like an identity that fails.
func aroundProxies(r *http.Request) (*url.URL, error) {
	if r.URL.Hostname() == machineIdentity {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}

// azuresOwn keeps what answers in the place of Azure's metadata service from
// looking like a managed identity that fails: the service of another cloud, or
// a network that refuses. The default chain would end there, before the Azure
// CLI. It begins with a probe without the header that the service wants, to
// which Azure's answers 400.
type azuresOwn struct{ next http.RoundTripper }

func (a azuresOwn) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := a.next.RoundTrip(r)
	if err != nil || r.URL.Hostname() != machineIdentity || r.Header.Get("Metadata") != "" {
		return resp, err
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		resp.Body.Close()
		return nil, fmt.Errorf("no virtual machine of Azure: %s answers %d", machineIdentity, resp.StatusCode)
	}
	return resp, nil
}
