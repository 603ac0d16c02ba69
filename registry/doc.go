// Package registry is a client for Azure Container Registry and for every
// registry that speaks the OCI distribution protocol.
package registry
