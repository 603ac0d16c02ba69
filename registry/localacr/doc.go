// Package localacr is a registry that behaves like Azure Container Registry's
// data plane, for demos, for tests, and for people who want to run any ACR
// client without an ACR.
package localacr
