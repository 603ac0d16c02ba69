package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/acrfs/acrfs/fs"
	"github.com/acrfs/acrfs/registry"
)

// writableFlags are the flags of mount that let it change the registry.
type writableFlags struct {
	prefix         prefixValue
	maxDeletes     int
	allowBlobs     bool
	allowOrphaning bool
	dryRun         bool
	auditLog       string
	throttleWait   time.Duration
}

func (w *writableFlags) bind(flags *pflag.FlagSet) {
	flags.Var(&w.prefix, "writable", "let rm delete and setfattr set flags, everywhere or, with =`prefix`, in that repository and those below it (default read-only)")
	flags.Lookup("writable").NoOptDefVal = everywhere
	flags.IntVar(&w.maxDeletes, "max-deletes", 0, "delete at most this many items (default 0: no limit)")
	flags.BoolVar(&w.allowBlobs, "allow-blob-delete", false, "let blobs be deleted by themselves (default no)")
	flags.BoolVar(&w.allowOrphaning, "allow-orphaning", false, "let manifests be deleted that a live index or subject needs (default no: they are busy)")
	flags.BoolVar(&w.dryRun, "dry-run", false, "change nothing: log what would have been changed, and look as if (default no)")
	flags.StringVar(&w.auditLog, "audit-log", "", "append each change and refusal to this `file` as a line of JSON (default none)")
	flags.DurationVar(&w.throttleWait, "throttle-wait", 5*time.Minute, "how long a change waits when the registry says it is throttled")
}

// check finds flags that say nothing without --writable.
func (w *writableFlags) check(flags *pflag.FlagSet) error {
	if w.maxDeletes < 0 {
		return badFlag("max-deletes", fmt.Sprint(w.maxDeletes), "a number of deletions, or 0 for no limit")
	}
	if w.throttleWait <= 0 {
		return badFlag("throttle-wait", w.throttleWait.String(), "a duration above zero, like 5m")
	}
	if w.prefix.set {
		return nil
	}
	for _, name := range []string{"max-deletes", "allow-blob-delete", "allow-orphaning", "dry-run", "audit-log"} {
		if flags.Changed(name) {
			return usagef("--%s needs --writable: a read-only mount changes nothing", name)
		}
	}
	return nil
}

// checkArgs finds mount's arguments to begin with a repository that was meant for
// --writable: of all flags, its value alone has to be given by =.
func (w *writableFlags) checkArgs(args []string) error {
	alone := w.prefix.set && w.prefix.prefix == ""
	if !alone || len(args) < 2 || !registry.ValidRepository(args[0]) {
		return nil
	}
	if len(args) == 3 || strings.Contains(args[0], "/") {
		return badFlag("writable", args[0], "the repository after =, like --writable="+args[0])
	}
	return nil
}

// open returns what the mount may change, nil for nothing, and what to close
// after it.
func (w *writableFlags) open() (*fs.Writable, func() error, error) {
	if !w.prefix.set {
		return nil, func() error { return nil }, nil
	}
	writable := &fs.Writable{
		Prefix:          w.prefix.prefix,
		MaxDeletes:      w.maxDeletes,
		AllowBlobDelete: w.allowBlobs,
		AllowOrphaning:  w.allowOrphaning,
		DryRun:          w.dryRun,
	}
	if w.auditLog == "" {
		return writable, func() error { return nil }, nil
	}
	log, err := openAuditLog(w.auditLog)
	if err != nil {
		return nil, nil, fmt.Errorf("--audit-log: %w", err)
	}
	writable.Audit = log
	return writable, log.Close, nil
}

// String says what the mount may change, for its first line.
func (w *writableFlags) String() string {
	switch {
	case !w.prefix.set:
		return "read-only"
	case w.dryRun:
		return "dry run: " + w.prefix.describe()
	}
	return w.prefix.describe()
}
