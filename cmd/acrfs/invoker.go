package main

import (
	"context"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// invoker is the user who called us through sudo, and whose logins are meant.
type invoker struct {
	name     string
	home     string
	uid, gid uint32
}

// invokerOf returns the user with the id that sudo left us, nil when we were not
// called through sudo, or by root.
func invokerOf(id string) *invoker {
	if os.Geteuid() != 0 || id == "" || id == "0" {
		return nil
	}
	u, err := user.LookupId(id)
	if err != nil || u.HomeDir == "" {
		return nil
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	if uidErr != nil || gidErr != nil {
		return nil
	}
	return &invoker{name: u.Username, home: u.HomeDir, uid: uint32(uid), gid: uint32(gid)}
}

// command is a program that looks after logins, run as the user whose they are.
// When ctx ends, what it started in turn is ended as well.
func (i *invoker) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = i.environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if i != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: i.uid, Gid: i.gid}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for one that left the group and keeps the pipes
	return cmd
}

// environ is the environment for programs that look after the user's logins.
func (i *invoker) environ() []string {
	var list []string
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if i != nil && (name == "HOME" || name == "USER" || name == "LOGNAME") {
			continue
		}
		list = append(list, entry)
	}
	if i != nil {
		list = append(list, "HOME="+i.home, "USER="+i.name, "LOGNAME="+i.name)
	}
	return list
}
