// Package integration proves acrfs from the outside: what independent clients
// push into a registry is mounted by the real program and compared, with the
// tools that people use, with what was pushed.
//
//	fixture/ ──push──> a server ──HTTP──> acrfs (a child process) ──FUSE──> ls, cp, rsync, tar, os.Open
//	    │              │                                                        │
//	    │              └ gate: counts requests and bytes, injects faults        │
//	    └──────────────── expectation: the promised names ─────────compare──────┘
//
// # Words
//
// A server is a registry to mount: [localacr], the product's own emulator of
// Azure Container Registry, or distribution, the reference implementation of
// the OCI protocol by others. Rows of the suite run on both.
//
// A gate stands in front of every server, in the same process. It counts what
// the mount asks for and, when a test says so, answers badly.
//
// A mount is the program, built once and started as a child process: a
// process that serves a file system must not be the one that waits in it.
//
// An expectation is the tree that a user is promised for an artifact. It is
// computed here from the manifest's bytes and the promise alone, without a
// line of the product, so that both cannot be wrong together.
//
// # Benchmarks
//
// bench_table_test.go has the table of what is measured, against what, and what
// is to be reached; bench_duel_test.go how acrfs and a peer take turns. The
// others are the rows. make bench runs them and prints the table.
//
// # Rules
//
// Everything is deterministic and needs no network but loopback. Every wait
// has a deadline. Every test ends its own mounts and processes, whatever
// happened. A test whose tool or device is missing says so in its skip; with
// CI=true it fails instead.
//
// This module is separate from the product's so that the servers and clients
// of others never enter the product's go.mod.
//
// [localacr]: https://pkg.go.dev/github.com/acrfs/acrfs/registry/localacr
package integration
