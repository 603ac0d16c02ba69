package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/acrfs/acrfs/registry"
)

// entraSources are the values of --auth that mean Microsoft Entra, and how
// people read them.
var entraSources = map[string]string{
	"entra":       "Microsoft Entra",
	"azcli":       "Microsoft Entra by the Azure CLI",
	"workload":    "Microsoft Entra by workload identity",
	"managed":     "Microsoft Entra by managed identity",
	"environment": "Microsoft Entra by the AZURE_… variables",
}

// entraLogin makes a login with Microsoft Entra and tries it: the error is what
// Entra, or the way to it, said.
func entraLogin(ctx context.Context, source, host string, a *authFlags, env authEnvironment, roots *x509.CertPool) (login, error) {
	at, known := entraAuthority(host, a.cloud.chosen, env.authorityHost)
	var options azcore.ClientOptions
	options.Cloud.ActiveDirectoryAuthorityHost = at
	options.Transport = &http.Client{Transport: &http.Transport{
		Proxy:               aroundProxies,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     30 * time.Second, // it is used every few hours
		ForceAttemptHTTP2:   true,
	}}
	if err := env.lendAzureHome(); err != nil {
		return login{}, err
	}
	tokens, err := entraTokens(source, options, known, env)
	if err != nil {
		return login{}, err
	}
	entra := registry.NewEntra(tokens, a.audience)
	who, err := entra.Identity(ctx)
	if err != nil {
		return login{}, err
	}
	shown := entraSources[source]
	if who != "" {
		shown += " as " + who
	}
	if env.sudo != nil && (source == "entra" || source == "azcli") {
		shown += ", logins in " + env.home() + "/.azure"
	}
	return login{source: registry.StaticCredential(registry.Credential{Entra: entra}), way: byEntra, shown: shown}, nil
}

// aroundProxies is the proxy that the environment names, but not for the
// endpoint of a virtual machine's own identity. No proxy can reach that; one
// that says so would look like an identity that fails.
func aroundProxies(r *http.Request) (*url.URL, error) {
	if r.URL.Hostname() == "169.254.169.254" {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}

// entraTokens makes the credential of package azidentity. It reads the AZURE_…
// variables that Azure's own tools read.
func entraTokens(source string, options azcore.ClientOptions, known bool, env authEnvironment) (azcore.TokenCredential, error) {
	switch source {
	case "azcli":
		return either(azidentity.NewAzureCLICredential(nil))
	case "workload":
		return either(azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: !known,
		}))
	case "environment":
		return either(azidentity.NewEnvironmentCredential(&azidentity.EnvironmentCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: !known,
		}))
	case "managed":
		o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
		if env.azureClientID != "" {
			o.ID = azidentity.ClientID(env.azureClientID) // as the default chain does
		}
		return either(azidentity.NewManagedIdentityCredential(o))
	}
	return either(azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
		ClientOptions: options, DisableInstanceDiscovery: !known,
	}))
}

// either keeps a nil pointer from becoming a credential.
func either[T azcore.TokenCredential](made T, err error) (azcore.TokenCredential, error) {
	if err != nil {
		return nil, err
	}
	return made, nil
}

// azAbsent is what the chain says about an Azure CLI that is not installed or
// that nobody logged in to.
var azAbsent = regexp.MustCompile(`AzureCLICredential: (executable not found on path|[^\n]*az login)`)

// noIdentity tells an environment in which the default chain found no identity at
// all from one in which it found one that failed. The chain itself makes no
// difference between an Azure CLI without and one with an expired login.
func noIdentity(err error) bool {
	var failed *azidentity.AuthenticationFailedError
	text := err.Error()
	var whole interface{ Unwrap() error }
	if errors.As(err, &whole) {
		text = whole.Unwrap().Error()
	}
	if errors.As(err, &failed) || strings.Contains(text, "AADSTS") {
		return false
	}
	return !strings.Contains(text, "AzureCLICredential: ") || azAbsent.MatchString(text)
}
