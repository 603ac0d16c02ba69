package main

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/acrfs/acrfs/registry/localacr"
)

// trust is what the flags say, in the registry's terms. It reads --entra-keys
// once, so that a wrong one is seen at the start.
func (i *issuerFlags) trust(ctx context.Context) (localacr.Entra, error) {
	roots, err := readAuthorities("entra-keys-ca", i.keysCA)
	if err != nil {
		return localacr.Entra{}, err
	}
	k := &issuerKeys{from: i.keys, roots: roots}
	if err := k.read(ctx); err != nil {
		return localacr.Entra{}, fmt.Errorf("--entra-keys %s: %w", i.keys, err)
	}
	return localacr.Entra{Keys: k.key, Issuer: i.issuer, Audience: i.audience}, nil
}

const (
	// keysLimit is far above Entra's key set, which has some 20 KiB.
	keysLimit = 1 << 20
	// keysTimeout bounds one read of them; a login waits for it.
	keysTimeout = 20 * time.Second
	// keysEvery is how often at most they are read anew for an id that is not
	// among them: issuers change their keys, and strangers invent ids.
	keysEvery = 10 * time.Second
)

// issuerKeys are the keys of a token issuer, read anew when one is missing.
type issuerKeys struct {
	from  string // URL or file
	roots *x509.CertPool

	mu    sync.Mutex // guards all below
	known map[string]*rsa.PublicKey
	at    time.Time // of the last attempt to read
}

func (k *issuerKeys) key(ctx context.Context, id string) (*rsa.PublicKey, error) {
	k.mu.Lock()
	key, due := k.known[id], time.Since(k.at) > keysEvery
	if key == nil && due {
		k.at = time.Now() // others do not read at the same time
	}
	k.mu.Unlock()
	if key == nil && due {
		if err := k.read(ctx); err != nil {
			return nil, err
		}
		k.mu.Lock()
		key = k.known[id]
		k.mu.Unlock()
	}
	if key == nil {
		return nil, fmt.Errorf("no key %q in %s", id, k.from)
	}
	return key, nil
}

func (k *issuerKeys) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	text, err := k.fetch(ctx)
	if err != nil {
		return err
	}
	keys, err := localacr.ParseKeys(text)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known, k.at = keys, time.Now()
	return nil
}

func (k *issuerKeys) fetch(ctx context.Context) ([]byte, error) {
	if !strings.Contains(k.from, "://") {
		f, err := os.Open(k.from)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, keysLimit))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.from, nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		TLSClientConfig: &tls.Config{RootCAs: k.roots, MinVersion: tls.VersionTLS12},
	}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, keysLimit))
}
