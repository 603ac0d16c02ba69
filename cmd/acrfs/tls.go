package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// authorityLife is long, since people put ca.pem where they forget it.
	authorityLife = 10 * 365 * 24 * time.Hour
	// certificateLife: a new certificate is made at each start, and some
	// clients refuse one that is good for more than 398 days.
	certificateLife = 397 * 24 * time.Hour
)

// selfSigned returns a certificate for names, issued by an authority of our
// own that is kept in dir (ca.pem, ca-key.pem) and made there when absent.
func selfSigned(dir string, names []string) (*tls.Config, error) {
	ca, key, err := authority(dir)
	if err != nil {
		return nil, err
	}
	leaf := template("acrfs serve", certificateLife)
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if ip := net.ParseIP(name); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else if name != "" {
			leaf.DNSNames = append(leaf.DNSNames, name)
		}
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &leafKey.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der, ca.Raw}, PrivateKey: leafKey}}}, nil
}

// authority reads the authority in dir, or makes one.
func authority(dir string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	switch {
	case errors.Is(err, os.ErrNotExist):
		err := makeAuthority(dir, certFile, keyFile)
		if errors.Is(err, os.ErrExist) { // one of the two got lost
			return nil, nil, fmt.Errorf("--tls-self-signed: %w: remove ca.pem and ca-key.pem to have new ones", err)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("--tls-self-signed: %w", err)
		}
		pair, err = tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, nil, fmt.Errorf("--tls-self-signed: %w", err)
		}
	case errors.As(err, new(*os.PathError)):
		return nil, nil, fmt.Errorf("--tls-self-signed: %w", err)
	case err != nil:
		return nil, nil, fmt.Errorf("--tls-self-signed %s: %w: remove ca.pem and ca-key.pem to have new ones", dir, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA || time.Now().After(pair.Leaf.NotAfter) {
		return nil, nil, fmt.Errorf("--tls-self-signed %s: not an authority of ours, or it has expired: remove ca.pem and ca-key.pem to have new ones", dir)
	}
	return pair.Leaf, key, nil
}

func makeAuthority(dir, certFile, keyFile string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := template("acrfs serve authority", authorityLife)
	ca.IsCA, ca.BasicConstraintsValid = true, true
	ca.MaxPathLenZero = true
	ca.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// O_EXCL for the key: never replace one whose certificate got lost.
	if err := writePEM(keyFile, "PRIVATE KEY", keyDER, 0o600); err != nil {
		return err
	}
	return writePEM(certFile, "CERTIFICATE", der, 0o644)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	return errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Close())
}

func template(name string, life time.Duration) *x509.Certificate {
	// 127 random bits, as RFC 5280 allows at most 20 bytes and wants no clash.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // crypto/rand does not fail since Go 1.24
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		// Clocks of containers and virtual machines are a little apart.
		NotBefore: now.Add(-time.Hour),
		NotAfter:  now.Add(life),
	}
}
