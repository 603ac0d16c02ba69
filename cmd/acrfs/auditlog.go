package main

import (
	"os"
	"path/filepath"
	"sync"
)

// auditLog appends to a file by its name: when logrotate has moved the file
// away, the next line begins a new one, without a signal. A line that was
// written in part only, on a full disk, is ended before the next.
type auditLog struct {
	path string

	mu   sync.Mutex // guards what follows; held while a line is written
	file *os.File   // nil after it could not be opened anew
	torn bool
}

// openAuditLog opens the file now, so that a mount which cannot keep its record
// does not begin.
func openAuditLog(path string) (*auditLog, error) {
	path, err := filepath.Abs(path) // a daemon changes its directory
	if err != nil {
		return nil, err
	}
	a := &auditLog{path: path}
	return a, a.reopen()
}

func (a *auditLog) reopen() (err error) {
	a.file, err = os.OpenFile(a.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	return err
}

func (a *auditLog) Write(line []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file != nil && !a.current() {
		a.file.Close()
		a.file, a.torn = nil, false
	}
	if a.file == nil {
		if err := a.reopen(); err != nil {
			return 0, err
		}
	}
	if a.torn {
		if _, err := a.file.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		a.torn = false
	}
	n, err := a.file.Write(line)
	a.torn = err != nil && n > 0
	return n, err
}

// current tells whether the file still has its name.
func (a *auditLog) current() bool {
	named, err := os.Stat(a.path)
	if err != nil {
		return false
	}
	open, err := a.file.Stat()
	return err == nil && os.SameFile(named, open)
}

func (a *auditLog) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return nil
	}
	return a.file.Close()
}
