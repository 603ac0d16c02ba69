package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/acrfs/acrfs/registry"
)

// explain says a refusal in the user's words: which registry, which
// credential, what the registry said, and what to do. So it does with a server
// that we do not trust. Other errors stay as they are.
func (who login) explain(err error, host string, perRepository bool) error {
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		return &refusal{fmt.Sprintf("%v: if it should be trusted, name its authority with --tls-ca FILE", err), err}
	}
	e := innermost(err)
	if e == nil || !errors.Is(err, registry.ErrDenied) {
		return err
	}
	said := quote(e)
	if ip := firewalled(e); ip != "" {
		return &refusal{fmt.Sprintf("%s: its firewall does not let %s in (%s): have the address allowed in the registry's networking settings, or use its private endpoint", host, ip, said), err}
	}
	switch {
	case errors.Is(e.Err, errNothing):
		return &refusal{fmt.Sprintf("%s: there is no %s any more: run %s", host, who.shown, dockerAdvice(host, who.tool)), err}
	case who.way == byEntra && e.Err != nil:
		return &refusal{entraFailure(host, who.entra, e.Err).Error(), err}
	case e.Status == 0:
		// Ours: the source failed, or we kept a credential to ourselves.
		return &refusal{fmt.Sprintf("%s: %s: %s", host, who.shown, said), err}
	}
	return &refusal{fmt.Sprintf("%s %s", host, who.advice(host, said, e, perRepository)), err}
}

// refusal is a line for the user, and the error that it is about.
type refusal struct {
	line  string
	cause error
}

func (r *refusal) Error() string { return r.line }
func (r *refusal) Unwrap() error { return r.cause }

// advice is the end of the line: how it refused whom, and what to do.
func (who login) advice(host, said string, e *registry.Error, perRepository bool) string {
	switch who.way {
	case byPassword:
		return fmt.Sprintf("refused %s (%s): check the name and the password; a token's password may have expired, an admin account may be off", who.shown, said)
	case byDocker:
		return fmt.Sprintf("refused the %s (%s): run %s", who.shown, said, dockerAdvice(host, who.tool))
	case byEntra:
		switch {
		case strings.Contains(strings.ToLower(e.Message), "arm aad token"):
			return fmt.Sprintf("takes no tokens for Azure's resource manager (%s): leave --audience out", said)
		case perRepository:
			return fmt.Sprintf("uses ABAC and lets %s see nothing (%s): ask for the role Container Registry Repository Reader, and Container Registry Repository Catalog Lister to list", who.shown, said)
		}
		return fmt.Sprintf("refused %s (%s): ask its owner for the role AcrPull, or Container Registry Repository Reader if it uses ABAC", who.shown, said)
	}
	missed := ""
	if len(who.missed) > 0 {
		missed = ", and there is no credential: " + strings.Join(who.missed, ", ")
	}
	if name, _, ok := azureRegistry(host); ok {
		return fmt.Sprintf("lets nobody in without a login: anonymous pull is off (%s)%s: run az acr login --name %s, or az login", said, missed, name)
	}
	return fmt.Sprintf("lets nobody in without a login (%s)%s: run %s, or give --username NAME --password-stdin", said, missed, dockerAdvice(host, "docker"))
}

// dockerAdvice is how a file of docker's or podman's gets a login for a registry.
func dockerAdvice(host, tool string) string {
	if name, _, ok := azureRegistry(host); ok && tool == "docker" {
		return "az acr login --name " + name
	}
	if host == registry.DockerHub {
		host = "docker.io" // under its own name the login would be kept elsewhere
	}
	return tool + " login " + host
}

// expired are Entra's codes for logins that were good once: by age, by a
// changed password, by a new rule about second factors.
var expired = regexp.MustCompile(`AADSTS(70043|700082|700084|50173|50078|50076|50079|50133|50132|135010)\b`)

const pod = `the pod needs the label azure.workload.identity/use: "true" and a service account with an identity`

// entraAdvice is what to do about what Microsoft Entra, or the way to it, says.
// The first row decides whose source is "" or the one in use, and whose says is
// found.
var entraAdvice = []struct {
	source string
	says   *regexp.Regexp
	advice string
}{
	{"", regexp.MustCompile(`AADSTS(500011|500014)\b`), "this tenant has no service for the audience: give --audience ARM, which registries take as well unless their policy forbids it"},
	{"", regexp.MustCompile(`AADSTS(7000215|7000222|7000216|700016|700027|90002)\b`), "check AZURE_TENANT_ID, AZURE_CLIENT_ID and the secret or certificate"},
	{"", regexp.MustCompile(`AADSTS70021|AADSTS700211|AADSTS700212|AADSTS700213`), "the identity's federated credential must name this cluster's issuer, the service account and the audience"},
	{"", regexp.MustCompile(`AZURE_FEDERATED_TOKEN_FILE is set`), pod},
	{"", regexp.MustCompile(`missing environment variable|is set, but not both`), "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH"},
	{"workload", regexp.MustCompile(`no (client ID|tenant ID|token file)`), pod},
	{"managed", regexp.MustCompile(`.`), "this machine needs an identity; AZURE_CLIENT_ID says which, where it has several of the user's"},
}

// entraFailure says why Microsoft Entra, or the way to it, gave no token.
func entraFailure(host, source string, err error) error {
	text, failed := oneLine(err), failedAttempts(err)
	var refused *azidentity.AuthenticationFailedError
	if source == "entra" && len(failed) > 0 && !errors.As(err, &refused) && !strings.HasPrefix(text, "AADSTS") {
		text = strings.Join(failed, "; ") // without those that are not there
	}
	about := entraSources[source]
	byCLI := source == "azcli" || slices.ContainsFunc(failed, func(said string) bool { return strings.HasPrefix(said, "AzureCLICredential: ") })
	switch {
	case expired.MatchString(text) && byCLI:
		return &refusal{fmt.Sprintf("%s: the Azure CLI login has expired (%s): run az login", host, text), err}
	case source == "azcli" && strings.Contains(text, "not found on path"):
		return &refusal{fmt.Sprintf("%s: %s: there is no program az (%s): install it and run az login", host, about, text), err}
	case source == "entra" && noIdentity(err):
		return &refusal{fmt.Sprintf("%s: %s: no identity was found: run az login, or see acrfs mount --help for --auth", host, about), err}
	case byCLI && strings.Contains(text, "az login"):
		return &refusal{fmt.Sprintf("%s: %s: nobody is logged in (%s): run az login", host, about, text), err}
	}
	line := fmt.Sprintf("%s: %s gave no token: %s", host, about, text)
	for _, row := range entraAdvice {
		if (row.source == "" || row.source == source) && row.says.MatchString(text) {
			line = strings.TrimSuffix(line, ".") + ": " + strings.Replace(row.advice, "ARM", resourceManager(host), 1)
			break
		}
	}
	return &refusal{line, err}
}

// innermost is the registry error that started it all, or nil.
func innermost(err error) *registry.Error {
	var last *registry.Error
	for next := (*registry.Error)(nil); errors.As(err, &next); err = next.Err {
		last = next
		if next.Err == nil {
			break
		}
	}
	return last
}

// quote is what the registry said, without the operation.
func quote(e *registry.Error) string {
	bare := *e
	bare.Op = ""
	return strings.TrimPrefix(bare.Error(), ": ")
}

// clientIP finds the address in Azure's sentence about its firewall.
var clientIP = regexp.MustCompile(`client with IP '?([0-9a-fA-F.:]+)'?`)

func firewalled(e *registry.Error) string {
	found := clientIP.FindStringSubmatch(e.Message)
	if e.Status != http.StatusForbidden || found == nil {
		return ""
	}
	return found[1]
}
