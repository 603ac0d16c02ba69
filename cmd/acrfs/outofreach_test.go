package main

import (
	"crypto/x509"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/acrfs/acrfs/registry"
)

// TestEntraOutOfReachIsNotARefusal, with a real credential of azidentity's.
func TestEntraOutOfReachIsNotARefusal(t *testing.T) {
	t.Setenv("AZURE_TENANT_ID", tenantID)
	t.Setenv("AZURE_CLIENT_ID", applicationID)
	t.Setenv("AZURE_CLIENT_SECRET", clientSecret)
	a := newEntraServer(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.caPEM)
	logIn := func() error {
		_, err := entraLogin(t.Context(), "environment", "contoso.azurecr.io", &authFlags{}, authEnvironment{authorityHost: a.URL}, roots)
		return err
	}
	if err := logIn(); err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	a.refuse = "AADSTS7000222: The provided client secret keys are expired."
	a.mu.Unlock()
	if err := logIn(); err == nil || errors.Is(err, registry.ErrUnavailable) || !strings.Contains(err.Error(), "AADSTS7000222") {
		t.Errorf("refused: got %v", err)
	}
	a.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	if err := logIn(); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("502: got %v, want ErrUnavailable", err)
	}
	a.Close()
	if err := logIn(); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("nobody there: got %v, want ErrUnavailable", err)
	}
}
