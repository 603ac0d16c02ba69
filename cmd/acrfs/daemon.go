package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// readyFD is the descriptor that a daemon reports on: the first of
// exec.Cmd.ExtraFiles.
const readyFD = 3

// childError passes on the exit status of a daemon that could not start and
// has said why.
type childError struct{ status int }

func (e *childError) Error() string { return fmt.Sprintf("exit status %d", e.status) }

// startDaemon runs the same command again, detached from the terminal, and
// returns when its mount is usable, or with its error.
func startDaemon(cmd *cobra.Command, args []string, passStdin bool) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	ready, report, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	child := exec.Command(program, daemonArgs(cmd, args)...)
	child.Stdout, child.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	if passStdin {
		child.Stdin = cmd.InOrStdin()
	}
	child.ExtraFiles = []*os.File{report}
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = child.Start()
	report.Close()
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}

	// A byte when the mount answers, the end of the pipe when the child ends
	// without. It always does one of the two: all that it does until then has
	// a deadline.
	answer := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(ready, make([]byte, 1))
		answer <- err
	}()
	select {
	case err = <-answer:
	case <-cmd.Context().Done():
		child.Process.Signal(syscall.SIGTERM)
		err = <-answer
	}
	if err == nil && cmd.Context().Err() == nil {
		return child.Process.Release()
	}
	err = child.Wait()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		return &childError{exit.ExitCode()}
	case cmd.Context().Err() != nil:
		return cmd.Context().Err()
	case err == nil:
		return errors.New("the daemon ended before its mount was usable")
	}
	return fmt.Errorf("the daemon ended before its mount was usable: %w", err)
}

// daemonArgs is the command line that cmd was called with, and where to
// report.
func daemonArgs(cmd *cobra.Command, args []string) []string {
	line := []string{cmd.Name(), fmt.Sprintf("--ready-fd=%d", readyFD)}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice() // given more than once
		}
		for _, value := range values {
			line = append(line, fmt.Sprintf("--%s=%s", f.Name, value))
		}
	})
	return append(append(line, "--"), args...)
}

// letGo is the daemon's half: it gives up its caller's terminal, pipes and
// directory, so that neither waits for us, and reports that the mount is
// usable. What is printed from then on, a panic say, goes to logFile, or
// nowhere without one.
func letGo(fd int, logFile string) error {
	report := os.NewFile(uintptr(fd), "ready")
	defer report.Close()
	unix.CloseOnExec(fd)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	out := null
	if logFile != "" {
		if out, err = os.OpenFile(logFile, os.O_APPEND|os.O_WRONLY, 0); err != nil {
			return err
		}
		defer out.Close()
	}
	for fd, f := range []*os.File{null, out, out} {
		if err := unix.Dup3(int(f.Fd()), fd, 0); err != nil {
			return err
		}
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	_, err = report.Write([]byte{1})
	return err
}
