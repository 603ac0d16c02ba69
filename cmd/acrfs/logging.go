package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
)

// open returns the logger that the flags ask for, and what closes its file.
// Without a file it writes to stderr.
func (l *logFlags) open(stderr io.Writer) (*slog.Logger, func(), error) {
	out, closeFile := stderr, func() {}
	if l.file != "" {
		// Appending keeps logrotate's copytruncate, and several mounts, from
		// overwriting each other. Names of repositories are not for everyone.
		f, err := os.OpenFile(l.file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("--log-file: %w", err)
		}
		out, closeFile = f, func() { f.Close() }
	}
	options := &slog.HandlerOptions{Level: l.minimum()}
	if l.format.chosen == "json" {
		return slog.New(slog.NewJSONHandler(out, options)), closeFile, nil
	}
	return slog.New(slog.NewTextHandler(out, options)), closeFile, nil
}

func (l *logFlags) minimum() slog.Level {
	var level slog.Level
	// The flag takes only words that slog knows.
	_ = level.UnmarshalText([]byte(l.level.chosen))
	return level
}
