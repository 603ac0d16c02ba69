package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// roundTrips is a network of hand-written answers.
type roundTrips func(*http.Request) (status int, body string)

func (f roundTrips) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Hostname() != machineIdentity {
		return nil, errors.New("no such host")
	}
	w := httptest.NewRecorder()
	status, body := f(r)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.WriteString(body)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// Machines of other clouds, and networks that refuse, answer at the address of
// Azure's metadata service. Who is logged in with the Azure CLI there is let in
// nevertheless.
func TestDefaultChainPassesOverAMachineThatIsNotAzures(t *testing.T) {
	az := script(t, "az", `echo '{"accessToken":"of.the.cli","expires_on":4102444800}'`)
	for name, row := range map[string]struct {
		network roundTrips
		want    string
	}{
		"another cloud":   {func(*http.Request) (int, string) { return 404, "<html>" }, "of.the.cli"},
		"it wants tokens": {func(*http.Request) (int, string) { return 401, "" }, "of.the.cli"},
		"it is forbidden": {func(*http.Request) (int, string) { return 403, "denied destination" }, "of.the.cli"},
		"Azure without an identity": {func(*http.Request) (int, string) {
			return 400, `{"error":"invalid_request","error_description":"Identity not found"}`
		}, "of.the.cli"},
		"Azure with one": {func(r *http.Request) (int, string) {
			if r.Header.Get("Metadata") != "true" {
				return 400, `{"error":"invalid_request","error_description":"Required metadata header not specified"}`
			}
			// One that ends so soon is not kept, as it would be for all tests.
			return 200, fmt.Sprintf(`{"access_token":"of.the.machine","expires_in":"60","expires_on":"%d","resource":"r","token_type":"Bearer"}`, time.Now().Add(time.Minute).Unix())
		}, "of.the.machine"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, variable := range []string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT", "MSI_ENDPOINT", chainVariable} {
				t.Setenv(variable, "")
				os.Unsetenv(variable)
			}
			options := azcore.ClientOptions{Transport: &http.Client{Transport: azuresOwn{row.network}}}
			get := func() (azcore.AccessToken, error) {
				credential, err := entraTokens("entra", options, true, authEnvironment{})
				if err != nil {
					t.Fatal(err)
				}
				return credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://containerregistry.azure.net/.default"}})
			}
			t.Setenv("PATH", az+":/bin:/usr/bin")
			if got, err := get(); err != nil || got.Token != row.want {
				t.Errorf("got %q, %v; want %q", got.Token, err, row.want)
			}
			if strings.Contains(row.want, "machine") {
				return
			}
			t.Setenv("PATH", "/nowhere:/bin:/usr/bin")
			if _, err := get(); err == nil || !noIdentity(err) {
				t.Errorf("without az: got %v, want that there is no identity", err)
			}
		})
	}
}
