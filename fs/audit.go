package fs

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// audit writes down every change and every refusal: in the log, one line each,
// and in the audit log, where there is one, before and after.
type audit struct {
	log *slog.Logger

	mu sync.Mutex // guards what follows; held while a line is written
	to io.Writer  // nil: the log alone
}

// auditLine is a line of the audit log.
type auditLine struct {
	Time    time.Time `json:"time"`
	UID     uint32    `json:"uid"`
	PID     uint32    `json:"pid"`
	Action  string    `json:"action"`           // "delete tag", "set can_write=false on manifest"
	Item    string    `json:"item"`             // repo, repo:tag, repo@digest
	Outcome string    `json:"outcome"`          // sending, done, refused, failed, dry run
	Reason  string    `json:"reason,omitempty"` // of a refusal or failure, with the registry's words
}

const (
	outcomeSending = "sending"
	outcomeDone    = "done"
	outcomeRefused = "refused" // by us: nothing was sent
	outcomeFailed  = "failed"  // by the registry
	outcomeDryRun  = "dry run"
)

// entry starts a line about what a caller wants to change.
func (a *audit) entry(ctx context.Context, action, item string) auditLine {
	line := auditLine{Action: action, Item: item}
	if caller, ok := fuse.FromContext(ctx); ok {
		line.UID, line.PID = caller.Uid, caller.Pid
	}
	return line
}

// begin writes that a change is about to be sent. An error means that it must
// not be.
func (a *audit) begin(line auditLine) error {
	line.Outcome = outcomeSending
	return a.write(line)
}

// end writes what became of it, and returns err as one that has its line. The
// change is done; a line that cannot be written any more is an error of the
// log, not of the change.
func (a *audit) end(line auditLine, outcome string, err error) error {
	line.Outcome = outcome
	values := []any{"action", line.Action, "item", line.Item, "outcome", outcome, "uid", line.UID, "pid", line.PID}
	level := slog.LevelInfo
	if err != nil {
		line.Reason = err.Error()
		level = max(slog.LevelWarn, severity(err))
		values = append(values, "errno", errnoOf(err).Error(), "reason", line.Reason)
	}
	a.log.Log(context.Background(), level, "change", values...)
	if err := a.write(line); err != nil {
		a.log.Error("audit log", "err", err)
	}
	if err != nil {
		return writtenDown{err}
	}
	return nil
}

// writtenDown is an error that has its line already.
type writtenDown struct{ error }

func (w writtenDown) Unwrap() error { return w.error }

func (a *audit) write(line auditLine) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.to == nil {
		return nil
	}
	line.Time = time.Now().UTC()
	raw, err := json.Marshal(line)
	if err != nil {
		return err
	}
	if _, err := a.to.Write(append(raw, '\n')); err != nil {
		return errors.Join(errNoAudit, err)
	}
	return nil
}
