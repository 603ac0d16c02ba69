package main

import (
	"github.com/spf13/pflag"

	"github.com/acrfs/acrfs/registry/localacr"
)

// issuerFlags are the flags of serve that say whose Microsoft Entra tokens are
// taken.
type issuerFlags struct {
	keys     string
	keysCA   string
	issuer   string
	audience string
}

func (i *issuerFlags) bind(flags *pflag.FlagSet) {
	flags.StringVar(&i.keys, "entra-keys", "https://login.microsoftonline.com/common/discovery/v2.0/keys", "with --auth entra: the `keys` that sign tokens, a JSON Web Key Set as an https URL or a file")
	flags.StringVar(&i.keysCA, "entra-keys-ca", "", "trust the authorities in this PEM `file` for --entra-keys (default only the system's)")
	flags.StringVar(&i.issuer, "entra-issuer", "", "what a token's `issuer` must begin with, like https://sts.windows.net/TENANT/ (default any that --entra-keys sign for)")
	flags.StringVar(&i.audience, "entra-audience", "", "the `resource` that tokens must be for (default what ACR takes)")
}

// check finds flags that say nothing without --auth entra. Whoever gives them
// wants somebody kept out.
func (i *issuerFlags) check(flags *pflag.FlagSet, auth string) error {
	if auth == string(localacr.AuthEntra) {
		return nil
	}
	for _, name := range []string{"entra-keys", "entra-keys-ca", "entra-issuer", "entra-audience"} {
		if flags.Changed(name) {
			return usagef("--%s needs --auth entra: %s checks no token of Microsoft Entra's", name, auth)
		}
	}
	return nil
}
