// Command acrfs mounts an Azure Container Registry, or any OCI registry, as a
// directory tree.
//
// It only wires: a subcommand reads its flags into Configs (config.go), opens
// what it needs in order, waits, and closes in reverse. What a mount does is
// in package fs, how content is kept in cache, how registries are spoken to in
// registry, and the registry of serve and demo in registry/localacr.
//
//	main.go        run: arguments in, exit status out; what counts as bad usage
//	usage.go help.go
//	               one-line errors for bad input, with suggestions; help that
//	               fits a terminal
//	config.go config_*.go
//	               every flag but umount's, and environment variable
//	values.go      what flags take: sizes, rates, choices, a prefix
//	sources.go     who we are to the registry: which source is asked, in order
//	credential.go password.go docker.go helper.go
//	entra.go chain.go azurecli.go imds.go cloud.go invoker.go
//	               the sources: given, docker's and podman's files, Microsoft Entra;
//	               and whose files they read under sudo
//	outofreach.go  telling a credential that is refused from one whose issuer gives
//	               no answer
//	gate.go        asking the registry at the start, and on if it has to wait
//	refusal.go denied.go
//	               what a refusal means, and what to do about it: at the start,
//	               and once for each repository in the log
//	named.go       --repository
//	logging.go     --log-level, --log-file, --log-format
//	auditlog.go    --audit-log: a file that may be rotated
//	session.go     client + cache + mount, opened and closed together
//	mount.go umount.go refresh.go demo.go serve.go version.go
//	               one subcommand each
//	demoroom.go    the directories of a demo, which leaves nothing behind
//	shellword.go   paths in the command lines that we print
//	daemon.go      mount --daemon: the same program again, detached
//	listen.go tls.go issuer.go
//	               serving HTTP until told to stop; certificates for serve; whose
//	               Microsoft Entra tokens it takes
//	debug.go       --debug-listen: counters and profiles
//
// # What runs where
//
//	foreground   acrfs mount ──────────── serves the mount until a signal
//	--daemon     acrfs mount ─ starts ─►  acrfs mount --ready-fd 3   (setsid)
//	                         ◄─ a byte ─  the mount answers
//	             exits 0                  serves the mount; SIGHUP refreshes
//
// The child of --daemon writes to the parent's stdout and stderr until the
// mount answers, so that its start line and its error are seen like those of a
// mount in the foreground; then it lets go of them. When it ends before that,
// the parent ends with its exit status.
//
// # Rules
//
// Exit status: 0 done, 1 failed or busy, 2 bad usage. An error is one line on
// stderr; help is printed only when asked for. Passwords come from stdin or
// the environment, never from an argument; programs that a mount runs do not
// inherit them, and no core dump is made of it. No package below this one reads
// flags, signals or the environment, but for the proxies it names; and fusermount3
// inherits it.
package main
