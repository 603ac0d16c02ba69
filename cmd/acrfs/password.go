package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// passwordLimit is far above any password; ACR's tokens, which are used as
// passwords, have a few KiB.
const passwordLimit = 64 << 10

// isTerminal reports whether r is a terminal that someone may type at.
func isTerminal(r io.Reader) (*os.File, bool) {
	f, ok := r.(*os.File)
	if !ok {
		return nil, false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return f, err == nil
}

// readPassword reads the password from stdin: the line that someone types at a
// terminal, unseen and after a prompt; of a file or a pipe all, without the
// newline that echo and editors leave at its end. It ends when ctx does.
func readPassword(ctx context.Context, user string, stdin io.Reader, prompt io.Writer) (string, error) {
	source := stdin
	if terminal, ok := isTerminal(stdin); ok {
		seen, err := hideInput(terminal)
		if err != nil {
			return "", fmt.Errorf("hide the password: %w", err)
		}
		fmt.Fprintf(prompt, "Password of %s: ", user)
		defer fmt.Fprintln(prompt)
		defer seen()
		source = &firstLine{terminal}
	}
	type result struct {
		text []byte
		err  error
	}
	// A read of stdin cannot be called off. When nobody waits for it any more,
	// the program is at its end.
	done := make(chan result, 1)
	go func() {
		text, err := io.ReadAll(io.LimitReader(source, passwordLimit+1))
		done <- result{text, err}
	}()
	var read result
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case read = <-done:
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(read.text), "\n"), "\r")
	switch {
	case read.err != nil:
		return "", fmt.Errorf("read the password from stdin: %w", read.err)
	case password == "":
		return "", usagef("no password on stdin: pipe it in with --password-stdin, or set ACRFS_PASSWORD")
	case len(read.text) > passwordLimit:
		return "", errors.New("--password-stdin: more than 64 KiB on stdin is no password")
	}
	return password, nil
}

// hideInput keeps what is typed at a terminal from being shown, until the
// function that it returns is called.
func hideInput(terminal *os.File) (seen func(), err error) {
	fd := int(terminal.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	hidden.Lflag |= unix.ICANON | unix.ISIG // whole lines; Ctrl-C stays a signal
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return nil, err
	}
	return func() { unix.IoctlSetTermios(fd, unix.TCSETS, before) }, nil
}

// firstLine reads a terminal up to the first newline, as it has no other end.
type firstLine struct{ from *os.File }

func (l *firstLine) Read(p []byte) (int, error) {
	n, err := l.from.Read(p)
	if n > 0 && p[n-1] == '\n' && err == nil {
		err = io.EOF // a terminal gives whole lines
	}
	return n, err
}

// keepSecrets keeps the secrets of this process from others: it leaves no core
// dump behind, and the programs that it runs do not inherit the password.
func keepSecrets() error {
	if err := os.Unsetenv(passwordVariable); err != nil {
		return err
	}
	return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}
