package registry

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// transports sends requests and never follows a redirect: that is decided in
// redirect.go, because net/http forwards Authorization to another port of the
// same host.
//
// Lists, manifests and tokens may share one HTTP/2 connection. Blobs do not:
// one connection's flow control would throttle all ranges together, so they
// use HTTP/1.1, a connection for each range in flight.
type transports struct {
	metadata, blobs policy.Transporter
	own             []*http.Transport // ours to close
}

// newTransports builds our own, or wraps the one given for both uses.
func newTransports(given policy.Transporter, roots *x509.CertPool) transports {
	if given != nil {
		if client, ok := given.(*http.Client); ok {
			copied := *client
			copied.CheckRedirect = neverFollow
			given = &copied
		}
		return transports{metadata: given, blobs: given}
	}
	metadata, blobs := newHTTPTransport(roots), newHTTPTransport(roots)
	metadata.ForceAttemptHTTP2 = true
	blobs.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{} // no HTTP/2
	blobs.DisableCompression = true
	return transports{
		metadata: &http.Client{Transport: metadata, CheckRedirect: neverFollow},
		blobs:    &http.Client{Transport: blobs, CheckRedirect: neverFollow},
		own:      []*http.Transport{metadata, blobs},
	}
}

func neverFollow(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func newHTTPTransport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{
			Timeout:   10 * time.Second, // a dead host must leave time for a second try
			KeepAlive: 15 * time.Second,
		}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		MaxIdleConns:        128,
		// The default of 2 would close the connections of parallel ranges
		// after each range, and pay for a handshake at the next.
		MaxIdleConnsPerHost: 64,
		ReadBufferSize:      64 << 10, // fewer system calls for blobs
		WriteBufferSize:     4 << 10,
	}
}

func (t transports) close() {
	for _, own := range t.own {
		own.CloseIdleConnections()
	}
}
