package main

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// invokersCLI is the Azure CLI of the user who called sudo. The credential of
// azidentity would run it as root, which leaves files of root's in the user's
// ~/.azure, and runs what the user put there. It says what that one says, in
// the same words.
type invokersCLI struct {
	owner *invoker
	// chained: what fails here is no reason for the chain to end.
	chained bool
}

func (c invokersCLI) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := c.ask(ctx, strings.TrimSuffix(strings.Join(options.Scopes, " "), "/.default"))
	if err != nil && c.chained {
		return token, azidentity.NewCredentialUnavailableError(err.Error())
	}
	return token, err
}

func (c invokersCLI) ask(ctx context.Context, resource string) (azcore.AccessToken, error) {
	failed := func(why string) (azcore.AccessToken, error) {
		return azcore.AccessToken{}, errors.New("AzureCLICredential: " + why)
	}
	cmd := c.owner.command(ctx, "az", "account", "get-access-token", "-o", "json", "--resource", resource)
	var stdout, stderr limitedBuffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return failed("executable not found on path")
	case errors.As(err, &exit) && stderr.Len() > 0:
		return failed(strings.TrimSpace(stderr.String()))
	case err != nil:
		return failed(err.Error())
	}
	var answer struct {
		AccessToken string `json:"accessToken"`
		Expires     int64  `json:"expires_on"` // seconds; the CLI has it since 2.54
		ExpiresAt   string `json:"expiresOn"`  // local time
	}
	if json.Unmarshal(stdout.Bytes(), &answer) != nil || answer.AccessToken == "" {
		return failed("its answer holds no token")
	}
	expires := time.Unix(answer.Expires, 0)
	if answer.Expires == 0 {
		if expires, err = time.ParseInLocation("2006-01-02 15:04:05.999999", answer.ExpiresAt, time.Local); err != nil {
			return failed("its answer does not say when the token expires")
		}
	}
	return azcore.AccessToken{Token: answer.AccessToken, ExpiresOn: expires}, nil
}
