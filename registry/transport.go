package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
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

// How long an HTTP/2 connection may be silent before it is asked whether it is
// still there, and how long the answer may take.
const (
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
)

// newTransports builds our own, or takes the one given for both uses.
func newTransports(given policy.Transporter, roots *x509.CertPool) transports {
	if client, ok := given.(*http.Client); ok {
		given = roundTrips{or[http.RoundTripper](client.Transport, http.DefaultTransport)}
	}
	if given != nil {
		return transports{metadata: boundErrors{given}, blobs: boundErrors{given}}
	}
	metadata, blobs := newHTTPTransport(roots), newHTTPTransport(roots)
	metadata.ForceAttemptHTTP2 = true
	// One that died without a word (a network changed, a laptop slept) would hold
	// up everybody for as long as the kernel tries.
	metadata.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout}
	blobs.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{} // no HTTP/2
	blobs.DisableCompression = true
	return transports{
		metadata: boundErrors{roundTrips{metadata}},
		blobs:    boundErrors{roundTrips{blobs}},
		own:      []*http.Transport{metadata, blobs},
	}
}

// roundTrips sends single requests. An http.Client would follow redirects, and
// even when told not to it repeats a Location that it cannot parse in its
// error, signature and all.
type roundTrips struct{ http.RoundTripper }

func (t roundTrips) Do(req *http.Request) (*http.Response, error) {
	resp, err := t.RoundTrip(req)
	var noTLS tls.RecordHeaderError
	if errors.As(err, &noTLS) && string(noTLS.RecordHeader[:]) == "HTTP/" {
		return nil, http.ErrSchemeMismatch
	}
	return resp, err
}

// boundErrors cuts the bodies of error answers. It has to sit below the
// pipeline: azcore reads those into memory whole, runtime.SkipBodyDownload or
// not.
type boundErrors struct{ policy.Transporter }

func (t boundErrors) Do(req *http.Request) (*http.Response, error) {
	resp, err := t.Transporter.Do(req)
	if err == nil && resp != nil && resp.StatusCode >= 400 {
		resp.Body = cutBody{io.LimitReader(resp.Body, maxErrorBody), resp.Body}
	}
	return resp, err
}

type cutBody struct {
	io.Reader
	io.Closer
}

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

		MaxResponseHeaderBytes: maxHeader,
	}
}

// closeIdle closes the connections that nobody uses at the moment: at the end,
// and when one in use turned out to be dead, as the others may have died with it.
func (t transports) closeIdle() {
	for _, own := range t.own {
		own.CloseIdleConnections()
	}
}
