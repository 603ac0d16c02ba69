package main

import (
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
)

// azureCloud is one of Azure's clouds: where people log in, and how its
// registries are called.
type azureCloud struct {
	name      string // as --cloud takes it
	suffix    string
	authority string
	manager   string // the audience of Azure's resource manager, which registries take, too
}

var azureClouds = []azureCloud{
	{"public", ".azurecr.io", cloud.AzurePublic.ActiveDirectoryAuthorityHost, "https://management.azure.com"},
	{"china", ".azurecr.cn", cloud.AzureChina.ActiveDirectoryAuthorityHost, "https://management.chinacloudapi.cn"},
	{"usgov", ".azurecr.us", cloud.AzureGovernment.ActiveDirectoryAuthorityHost, "https://management.usgovcloudapi.net"},
}

// azureRegistry is the registry's name within Azure, "contoso" for
// contoso.azurecr.io, and ok is false for registries elsewhere.
func azureRegistry(host string) (name string, in azureCloud, ok bool) {
	for _, c := range azureClouds {
		if name, found := strings.CutSuffix(host, c.suffix); found && name != "" {
			// The regional data endpoints and such have more labels, and names
			// under a domain name label end in a hash.
			name, _, _ = strings.Cut(name, ".")
			name, _, _ = strings.Cut(name, "-")
			return name, c, true
		}
	}
	return "", azureCloud{}, false
}

// resourceManager is the audience of the resource manager of host's cloud.
func resourceManager(host string) string {
	if _, in, ok := azureRegistry(host); ok {
		return in.manager
	}
	return azureClouds[0].manager
}

// entraAuthority is where Microsoft Entra is asked for tokens: --cloud, else
// AZURE_AUTHORITY_HOST, else the cloud that the host's name tells, else the
// public one. known is false for a private cloud's, about which Microsoft's
// own need not be asked.
func entraAuthority(host, chosen, fromEnvironment string) (url string, known bool) {
	url = azureClouds[0].authority
	if _, in, ok := azureRegistry(host); ok {
		url = in.authority
	}
	if fromEnvironment != "" {
		url = fromEnvironment
	}
	for _, c := range azureClouds {
		if c.name == chosen {
			url = c.authority
		}
	}
	for _, c := range azureClouds {
		known = known || strings.TrimSuffix(c.authority, "/") == strings.TrimSuffix(url, "/")
	}
	return url, known
}
