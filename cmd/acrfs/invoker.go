package main

import (
	"os"
	"os/user"
	"strconv"
	"strings"
)

// invoker is the user who called us through sudo, and whose logins are meant.
type invoker struct {
	name     string
	home     string
	uid, gid uint32
}

// readInvoker returns nil when we were not called through sudo, or by root.
func readInvoker() *invoker {
	id := os.Getenv("SUDO_UID")
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
