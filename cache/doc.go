// Package cache keeps content by digest on disk and serves it while it is
// still being downloaded.
package cache
