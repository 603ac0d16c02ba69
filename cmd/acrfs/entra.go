package main

import (
	"context"
	"crypto/x509"
	"net/http"
	"os"
	"strings"

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
	options.Transport = &http.Client{Transport: noting{entraTransport(roots)}}
	tokens, err := entraTokens(source, options, known, env)
	if err != nil {
		return login{}, err
	}
	entra := registry.NewEntra(tellingReach{tokens}, a.audience)
	who, err := entra.Identity(ctx)
	if err != nil {
		if half := halfAnIdentity(err, env.azureProof); half != nil && noIdentity(err) {
			err = half
		}
		return login{}, err
	}
	shown := entraSources[source]
	if who != "" {
		shown += " as " + who
	}
	if env.sudo != nil && (source == "entra" || source == "azcli") {
		shown += ", logins in " + absoluteOr(env.azureConfig, env.home()+"/.azure")
	}
	return login{source: registry.StaticCredential(registry.Credential{Entra: entra}), way: byEntra, entra: source, shown: shown}, nil
}

// entraTokens makes the credential of package azidentity. It reads the AZURE_…
// variables that Azure's own tools read.
func entraTokens(source string, options azcore.ClientOptions, known bool, env authEnvironment) (azcore.TokenCredential, error) {
	switch source {
	case "azcli":
		if env.sudo != nil {
			return invokersCLI{owner: env.sudo}, nil
		}
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
	if env.sudo != nil {
		return invokersChain(options, known, env)
	}
	return defaultChain(options, known)
}

func defaultChain(options azcore.ClientOptions, known bool) (azcore.TokenCredential, error) {
	return either(azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
		ClientOptions: options, DisableInstanceDiscovery: !known,
	}))
}

// chainVariable selects a part of azidentity's default chain: "prod" what a
// machine is given, "dev" the tools that a person logs in with.
const chainVariable = "AZURE_TOKEN_CREDENTIALS"

// invokersChain is the default chain under sudo: its end, the tools that a
// person logs in with, is the Azure CLI of the user who called it.
func invokersChain(options azcore.ClientOptions, known bool, env authEnvironment) (azcore.TokenCredential, error) {
	cli := invokersCLI{owner: env.sudo, chained: true}
	switch chosen := env.azureChain; {
	case chosen == "dev", strings.EqualFold(chosen, "AzureCLICredential"):
		return either(azidentity.NewChainedTokenCredential([]azcore.TokenCredential{cli}, nil))
	case chosen != "":
		return defaultChain(options, known)
	}
	if err := os.Setenv(chainVariable, "prod"); err != nil { // azidentity takes it from nowhere else
		return nil, err
	}
	machine, err := defaultChain(options, known)
	if err != nil {
		return nil, err
	}
	return either(azidentity.NewChainedTokenCredential([]azcore.TokenCredential{machine, cli}, nil))
}

// either keeps a nil pointer from becoming a credential.
func either[T azcore.TokenCredential](made T, err error) (azcore.TokenCredential, error) {
	if err != nil {
		return nil, err
	}
	return made, nil
}
