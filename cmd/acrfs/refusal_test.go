package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/acrfs/acrfs/registry"
)

// answers is a registry of hand-written answers, under any name.
type answers map[string]answer

type answer struct {
	status int
	body   string
}

func (a answers) Do(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	got, ok := a[r.Method+" "+r.URL.Path]
	if !ok {
		got = answer{404, "404 page not found\n"}
	}
	if got.status == 401 && !strings.HasPrefix(r.URL.Path, "/oauth2/") {
		scope := ""
		if strings.HasSuffix(r.URL.Path, "_catalog") {
			scope = `,scope="registry:catalog:*"`
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="https://%s/oauth2/token",service="%s"%s`, r.URL.Host, r.URL.Host, scope))
	}
	w.WriteHeader(got.status)
	w.WriteString(got.body)
	return w.Result(), nil
}

const (
	unauthorized = `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required, visit https://aka.ms/acr/authorization for more information."}]}`
	refreshToken = `{"refresh_token":"e30.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln"}`
	abacToken    = `{"refresh_token":"e30.eyJleHAiOjQxMDI0NDQ4MDAsImFhZF9pZGVudGl0eSI6IngifQ.c2ln"}`
	accessToken  = `{"access_token":"e30.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln"}`
)

// withTokens guards a registry as Azure does, and says what its logins answer.
func withTokens(exchange, token answer) answers {
	return answers{
		"GET /acr/v1/_catalog":  {401, unauthorized},
		"GET /v2/":              {401, unauthorized},
		"POST /oauth2/exchange": exchange,
		"POST /oauth2/token":    token,
	}
}

// aToken is an Entra identity that always has a token.
type aToken struct{}

func (aToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "an.entra.token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// loggedOut is the source of a login that is no more.
type loggedOut struct{}

func (loggedOut) Credential(context.Context) (registry.Credential, error) {
	return registry.Credential{}, errNothing
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	entra := login{source: registry.StaticCredential(registry.Credential{Entra: registry.NewEntra(aToken{}, "")}), way: byEntra, shown: "Microsoft Entra as alice@contoso.com of the Azure CLI"}
	docker := login{source: registry.StaticCredential(registry.Credential{IdentityToken: "hunter2"}), way: byDocker, tool: "docker", shown: "docker login in /home/alice/.docker/config.json"}
	user := login{source: registry.StaticCredential(registry.Credential{Username: "ci", Password: "hunter2"}), way: byPassword, shown: "user ci"}
	expiredCLI := registry.StaticCredential(registry.Credential{Entra: registry.NewEntra(noToken{errors.New("AzureCLICredential: ERROR: AADSTS700082: The refresh token has expired due to inactivity. Trace ID: 1")}, "")})
	nobodys := login{shown: "anonymous", missed: []string{"no login for it in /home/alice/.docker/config.json", "no Microsoft Entra identity here"}}
	refused, empty := answer{401, unauthorized}, answer{401, ""}
	said := "401 UNAUTHORIZED: authentication required, visit https://aka.ms/acr/authorization for more information."
	firewall := answer{403, `{"errors":[{"code":"DENIED","message":"client with IP '203.0.113.7' is not allowed access. Refer https://aka.ms/acr/firewall to grant access."}]}`}
	for name, row := range map[string]struct {
		host    string
		answers answers
		who     login
		want    string
	}{
		"docker login expired": {anyHost, withTokens(refused, empty), docker,
			"contoso.azurecr.io refused the docker login in /home/alice/.docker/config.json (401: credentials refused): run az acr login --name contoso"},
		"domain name label": {"contoso-a1b2c3.azurecr.io", withTokens(refused, empty), docker,
			"contoso-a1b2c3.azurecr.io refused the docker login in /home/alice/.docker/config.json (401: credentials refused): run az acr login --name contoso"},
		"podman login": {anyHost, withTokens(refused, empty), login{source: docker.source, way: byDocker, tool: "podman", shown: "podman login in /home/alice/.config/containers/auth.json"},
			"contoso.azurecr.io refused the podman login in /home/alice/.config/containers/auth.json (401: credentials refused): run podman login contoso.azurecr.io"},
		"docker login elsewhere": {"registry.example", withTokens(refused, refused), docker,
			"registry.example refused the docker login in /home/alice/.docker/config.json (" + said + "): run docker login registry.example"},
		"Docker Hub": {"docker.io", withTokens(refused, refused), docker,
			"registry-1.docker.io refused the docker login in /home/alice/.docker/config.json (" + said + "): run docker login docker.io"},
		"wrong password": {anyHost, withTokens(refused, refused), user,
			"contoso.azurecr.io refused user ci (" + said + "): check the name and the password; a token's password may have expired, an admin account may be off"},
		"no role": {anyHost, withTokens(refused, refused), entra,
			"contoso.azurecr.io refused Microsoft Entra as alice@contoso.com of the Azure CLI (" + said + "): ask its owner for the role AcrPull, or Container Registry Repository Reader if it uses ABAC"},
		"no role, without a word": {anyHost, withTokens(empty, refused), entra,
			"contoso.azurecr.io refused Microsoft Entra as alice@contoso.com of the Azure CLI (401: the registry refused the Microsoft Entra token): ask its owner for the role AcrPull, or Container Registry Repository Reader if it uses ABAC"},
		"ABAC": {anyHost, withTokens(answer{200, abacToken}, answer{200, accessToken}), entra,
			"contoso.azurecr.io uses ABAC and lets Microsoft Entra as alice@contoso.com of the Azure CLI see nothing (401 UNAUTHORIZED: credentials refused: authentication required, visit https://aka.ms/acr/authorization for more information.): ask for the role Container Registry Repository Reader, and Container Registry Repository Catalog Lister to list"},
		"a token for the resource manager": {anyHost, withTokens(answer{401, `{"errors":[{"code":"UNAUTHORIZED","message":"arm aad token disallowed"}]}`}, refused), entra,
			"contoso.azurecr.io takes no tokens for Azure's resource manager (401 UNAUTHORIZED: arm aad token disallowed): leave --audience out"},
		"docker login gone meanwhile": {anyHost, withTokens(refused, empty), login{source: loggedOut{}, way: byDocker, tool: "docker", shown: docker.shown},
			"contoso.azurecr.io: there is no docker login in /home/alice/.docker/config.json any more: run az acr login --name contoso"},
		"Azure CLI login expired meanwhile": {anyHost, withTokens(refused, empty), login{source: expiredCLI, way: byEntra, entra: "entra", shown: entra.shown},
			"contoso.azurecr.io: the Azure CLI login has expired (AADSTS700082: The refresh token has expired due to inactivity.): run az login"},
		"anonymous pull is off": {anyHost, withTokens(refused, empty), nobodys,
			"contoso.azurecr.io lets nobody in without a login: anonymous pull is off (401: anonymous access refused; credentials are needed), and there is no credential: no login for it in /home/alice/.docker/config.json, no Microsoft Entra identity here: run az acr login --name contoso, or az login"},
		"anonymous in China": {"contoso.azurecr.cn", withTokens(refused, empty), login{shown: "anonymous"},
			"contoso.azurecr.cn lets nobody in without a login: anonymous pull is off (401: anonymous access refused; credentials are needed): run az acr login --name contoso, or az login"},
		"anonymous elsewhere": {"registry.example", withTokens(refused, empty), login{shown: "anonymous"},
			"registry.example lets nobody in without a login (401: anonymous access refused; credentials are needed): run docker login registry.example, or give --username NAME --password-stdin"},
		"firewall at the exchange": {anyHost, withTokens(firewall, refused), entra,
			"contoso.azurecr.io: its firewall does not let 203.0.113.7 in (403 DENIED: client with IP '203.0.113.7' is not allowed access. Refer https://aka.ms/acr/firewall to grant access.): have the address allowed in the registry's networking settings, or use its private endpoint"},
		"firewall before": {anyHost, answers{"GET /acr/v1/_catalog": firewall, "GET /v2/": firewall}, entra,
			"contoso.azurecr.io: its firewall does not let 203.0.113.7 in (403 DENIED: client with IP '203.0.113.7' is not allowed access. Refer https://aka.ms/acr/firewall to grant access.): have the address allowed in the registry's networking settings, or use its private endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			source := &lateSource{find: func(context.Context) (login, error) { return row.who, nil }}
			client, err := registry.New(registry.Config{Endpoint: row.host, Transport: row.answers, Credentials: source})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			in := &gate{client: client, source: source, log: slog.New(slog.DiscardHandler)}
			err = in.ask(t.Context())
			if err == nil || err.Error() != row.want || !errors.Is(err, registry.ErrDenied) {
				t.Errorf("got  %v\nwant %s", err, row.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Error("the secret is in it")
			}
		})
	}
}

func TestEntraFailuresSayWhatToDo(t *testing.T) {
	chain := "DefaultAzureCredential: failed to acquire a token.\nAttempted credentials:\n\tEnvironmentCredential: missing environment variable AZURE_TENANT_ID\n\tAzureCLICredential: "
	for name, row := range map[string]struct {
		source, says string
		want         string
	}{
		"expired": {"azcli", "AzureCLICredential: ERROR: AADSTS700082: The refresh token has expired due to inactivity. Trace ID: 1-2 Correlation ID: 3",
			"contoso.azurecr.io: the Azure CLI login has expired (AADSTS700082: The refresh token has expired due to inactivity.): run az login"},
		"expired, in the chain": {"entra", chain + "ERROR: AADSTS70043: The refresh token has expired or is invalid due to sign-in frequency checks by conditional access. Trace ID: 1",
			"contoso.azurecr.io: the Azure CLI login has expired (AADSTS70043: The refresh token has expired or is invalid due to sign-in frequency checks by conditional access.): run az login"},
		"not logged in": {"azcli", "AzureCLICredential: ERROR: Please run 'az login' to setup account.",
			"contoso.azurecr.io: Microsoft Entra by the Azure CLI: nobody is logged in (AzureCLICredential: ERROR: Please run 'az login' to setup account): run az login"},
		"cache lost": {"azcli", "AzureCLICredential: ERROR: User 'alice@contoso.com' does not exist in MSAL token cache. Run `az login`.. To troubleshoot, visit https://aka.ms/azsdk/go/identity/troubleshoot#azure-cli",
			"contoso.azurecr.io: Microsoft Entra by the Azure CLI: nobody is logged in (AzureCLICredential: ERROR: User 'alice@contoso.com' does not exist in MSAL token cache. Run `az login`): run az login"},
		"cache lost, in the chain": {"entra", chain + "ERROR: User 'alice@contoso.com' does not exist in MSAL token cache. Run `az login`.",
			"contoso.azurecr.io: Microsoft Entra: nobody is logged in (AzureCLICredential: ERROR: User 'alice@contoso.com' does not exist in MSAL token cache. Run `az login`): run az login"},
		"no az": {"azcli", "AzureCLICredential: executable not found on path",
			"contoso.azurecr.io: Microsoft Entra by the Azure CLI: there is no program az (AzureCLICredential: executable not found on path): install it and run az login"},
		"az fails": {"azcli", "AzureCLICredential: Traceback (most recent call last):\n  File \"/usr/bin/az\"\nModuleNotFoundError: No module named 'azure'",
			"contoso.azurecr.io: Microsoft Entra by the Azure CLI gave no token: AzureCLICredential: Traceback (most recent call last):; File \"/usr/bin/az\"; ModuleNotFoundError: No module named 'azure'"},
		"no such audience": {"environment", "ClientSecretCredential authentication failed.\n \"error_description\": \"AADSTS500011: The resource principal named https://containerregistry.azure.net was not found in the tenant named Contoso. Trace ID: 1\"",
			"contoso.azurecr.io: Microsoft Entra by the AZURE_… variables gave no token: AADSTS500011: The resource principal named https://containerregistry.azure.net was not found in the tenant named Contoso: this tenant has no service for the audience: give --audience https://management.azure.com, which registries take as well unless their policy forbids it"},
		"no variables": {"environment", "missing environment variable AZURE_TENANT_ID",
			"contoso.azurecr.io: Microsoft Entra by the AZURE_… variables gave no token: missing environment variable AZURE_TENANT_ID: set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH"},
		"no pod": {"workload", "no client ID specified. Check pod configuration or set ClientID in the options",
			"contoso.azurecr.io: Microsoft Entra by workload identity gave no token: no client ID specified. Check pod configuration or set ClientID in the options: the pod needs the label azure.workload.identity/use: \"true\" and a service account with an identity"},
		"wrong cluster": {"workload", "WorkloadIdentityCredential authentication failed.\n \"error_description\": \"AADSTS700211: No matching federated identity record found for presented assertion issuer 'https://i/'. Trace ID: 1\"",
			"contoso.azurecr.io: Microsoft Entra by workload identity gave no token: AADSTS700211: No matching federated identity record found for presented assertion issuer 'https://i/': the identity's federated credential must name this cluster's issuer, the service account and the audience"},
		"no machine of Azure": {"managed", "ManagedIdentityCredential authentication failed. \nGET http://169.254.169.254/metadata/identity/oauth2/token\n--------\nRESPONSE 403: 403 Forbidden\n--------\ndenied\n--------\nTo troubleshoot, visit https://aka.ms/azsdk/go/identity/troubleshoot#managed-id",
			"contoso.azurecr.io: Microsoft Entra by managed identity gave no token: ManagedIdentityCredential authentication failed; 403 Forbidden; denied: this machine needs an identity; AZURE_CLIENT_ID says which, where it has several of the user's"},
		"nothing at all": {"entra", chain + "executable not found on path",
			"contoso.azurecr.io: Microsoft Entra: no identity was found: run az login, or see acrfs mount --help for --auth"},
		"nothing at all, and advertising": {"entra", chain + "WARNING: You have 2 updates available.\n\t\tERROR: Please run 'az login' to setup account.",
			"contoso.azurecr.io: Microsoft Entra: no identity was found: run az login, or see acrfs mount --help for --auth"},
		"another tool's login expired": {"entra", chain + "executable not found on path\n\tAzureDeveloperCLICredential: ERROR: AADSTS70043: The refresh token has expired. Trace ID: 1",
			"contoso.azurecr.io: Microsoft Entra gave no token: AADSTS70043: The refresh token has expired."},
		"wrong secret": {"environment", "ClientSecretCredential authentication failed.\nPOST https://login.microsoftonline.com/t/oauth2/v2.0/token\n{\n \"error\": \"invalid_client\",\n \"error_description\": \"AADSTS7000215: Invalid client secret provided. Trace ID: 1\"\n}",
			"contoso.azurecr.io: Microsoft Entra by the AZURE_… variables gave no token: AADSTS7000215: Invalid client secret provided: check AZURE_TENANT_ID, AZURE_CLIENT_ID and the secret or certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := registry.NewEntra(noToken{errors.New(row.says)}, "").Identity(t.Context())
			if got := entraFailure(anyHost, row.source, err); got.Error() != row.want {
				t.Errorf("got  %v\nwant %s", got, row.want)
			}
		})
	}
}

type noToken struct{ err error }

func (n noToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, n.err
}

func TestAuthorityFollowsFlagEnvironmentAndName(t *testing.T) {
	const private = "https://login.private.example/"
	for _, row := range []struct {
		host, flag, env, want string
		known                 bool
	}{
		{"contoso.azurecr.io", "auto", "", "https://login.microsoftonline.com/", true},
		{"contoso.azurecr.cn", "auto", "", "https://login.chinacloudapi.cn/", true},
		{"contoso.azurecr.us", "auto", "", "https://login.microsoftonline.us/", true},
		{"registry.example", "auto", "", "https://login.microsoftonline.com/", true},
		{"contoso.azurecr.cn", "auto", private, private, false},
		{"contoso.azurecr.cn", "usgov", private, "https://login.microsoftonline.us/", true},
		{"contoso.azurecr.io", "auto", "https://login.chinacloudapi.cn", "https://login.chinacloudapi.cn", true},
	} {
		if got, known := entraAuthority(row.host, row.flag, row.env); got != row.want || known != row.known {
			t.Errorf("%+v: got %s, known %v", row, got, known)
		}
	}
}
