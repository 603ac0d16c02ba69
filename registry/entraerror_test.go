package registry

import (
	"errors"
	"testing"
)

const azidentityPage = `DefaultAzureCredential: failed to acquire a token.
Attempted credentials:
	EnvironmentCredential: missing environment variable AZURE_TENANT_ID
	WorkloadIdentityCredential: no client ID specified. Check pod configuration or set ClientID in the options
	ManagedIdentityCredential authentication failed. the requested identity isn't assigned to this resource
		GET http://169.254.169.254/metadata/identity/oauth2/token
		--------------------------------------------------------------------------------
		RESPONSE 400: 400 Bad Request
		--------------------------------------------------------------------------------
		{
		  "error": "invalid_request",
		  "error_description": "Identity not found",
		  "correlation_id": "1-2-3"
		}
		--------------------------------------------------------------------------------
		To troubleshoot, visit https://aka.ms/azsdk/go/identity/troubleshoot#managed-id`

func TestEntraErrorSaysTheEssenceOfAPage(t *testing.T) {
	for _, row := range []struct{ page, want string }{
		{azidentityPage, "EnvironmentCredential: missing environment variable AZURE_TENANT_ID; " +
			"WorkloadIdentityCredential: no client ID specified. Check pod configuration or set ClientID in the options; " +
			"ManagedIdentityCredential authentication failed. the requested identity isn't assigned to this resource; 400 Bad Request; invalid_request; Identity not found"},
		{"AzureCLICredential: ERROR: User 'alice' does not exist in MSAL token cache. Run `az login`.. To troubleshoot, visit https://aka.ms/azsdk/go/identity/troubleshoot#azure-cli",
			"AzureCLICredential: ERROR: User 'alice' does not exist in MSAL token cache. Run `az login`"},
		{"ManagedIdentityCredential authentication failed. \nGET http://h/t\n-----\nRESPONSE 403: 403 Forbidden\n-----\ndenied\n-----", "ManagedIdentityCredential authentication failed; 403 Forbidden; denied"},
		{"ClientSecretCredential authentication failed.\n \"error_description\": \"AADSTS7000215: Invalid client secret provided. Trace ID: 1\"", "AADSTS7000215: Invalid client secret provided."},
		{"", ""},
	} {
		if got := (&entraError{cause: errors.New(row.page)}).Error(); got != row.want {
			t.Errorf("got  %s\nwant %s", got, row.want)
		}
	}
	late := &entraError{cause: errors.New("AzureCLICredential: signal: killed"), late: true}
	if got, want := late.Error(), "no answer within 1m0s: AzureCLICredential: signal: killed"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzCondense(f *testing.F) {
	f.Add(azidentityPage)
	f.Add("AADSTS1: x\\\"")
	f.Fuzz(func(t *testing.T, page string) {
		if got := condense(page); len(got) > 1100 || got != clean(got, 2000) {
			t.Errorf("%q became %q", page, got)
		}
	})
}
