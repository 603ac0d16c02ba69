package main

import (
	"errors"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// What azidentity's default chain says when no credential of it gave a token is
// one error with a line or more for each, and tells nobody but a reader which of
// them are not there and which are there and failed.

// attempt is how the chain begins what one of its credentials said.
var attempt = regexp.MustCompile(`(?m)^\s*(\w+Credential): `)

// nothing is what credentials of the chain say that are not there at all. The
// others, which are not named, are not there unless they end the chain or repeat
// what Microsoft Entra said of a login.
var nothing = map[string]*regexp.Regexp{
	"EnvironmentCredential":      regexp.MustCompile(`^(missing environment variable \w+|incomplete environment variable configuration.*)\s*$`),
	"WorkloadIdentityCredential": regexp.MustCompile(`^no (client ID|token file|tenant ID) specified`),
	"AzureCLICredential":         regexp.MustCompile(`^executable not found on path|Please run 'az login' to setup account`),
}

// failedAttempts is what those credentials of the chain said that are there and
// failed, a line each.
func failedAttempts(err error) (failed []string) {
	text := chainText(err)
	attempts := attempt.FindAllStringSubmatchIndex(text, -1)
	for i, at := range attempts {
		name, said := text[at[2]:at[3]], text[at[1]:]
		if i+1 < len(attempts) {
			said = text[at[1]:attempts[i+1][0]]
		}
		absent, ok := nothing[name]
		if ok && !absent.MatchString(said) || strings.Contains(said, "AADSTS") {
			said, _, _ = strings.Cut(said, "To troubleshoot, visit ")
			failed = append(failed, name+": "+strings.TrimRight(oneLine(errors.New(said)), ". "))
		}
	}
	return failed
}

// noIdentity tells an environment in which the default chain found no identity at
// all from one in which it found one that failed. The chain itself makes no
// difference between a certificate that is not configured and one that cannot be
// read, or between an Azure CLI without and one with an expired login.
func noIdentity(err error) bool {
	var refused *azidentity.AuthenticationFailedError
	if errors.As(err, &refused) || !attempt.MatchString(chainText(err)) {
		return false // it was not asked to the end, or could not even be made
	}
	return len(failedAttempts(err)) == 0
}

// halfAnIdentity is the error for the proof of an identity without its name,
// which the chain passes over; nil when that is not what happened. proof is the
// variable that is set.
func halfAnIdentity(err error, proof string) error {
	credential, says := "EnvironmentCredential", "missing environment variable"
	if proof == "AZURE_FEDERATED_TOKEN_FILE" {
		credential, says = "WorkloadIdentityCredential", "no "
	}
	if proof == "" || !strings.Contains(chainText(err), credential+": "+says) {
		return nil
	}
	return errors.New(credential + ": " + proof + " is set, but not both AZURE_TENANT_ID and AZURE_CLIENT_ID")
}

// chainText is the whole text of the credential chain's error, of which the
// registry package shows one sentence.
func chainText(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
