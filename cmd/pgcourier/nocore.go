package main

import (
	"context"
	"log/slog"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/internal/config"
)

// noCore is the limit of a core dump that makes the kernel write none. With 0 a machine
// whose core_pattern is a pipe (systemd-coredump, apport) would get one all the same; 1 is
// the value with which the kernel refuses a pipe too, and less than the smallest file it
// writes: core(5), fs/coredump.c.
const noCore = 1

// forbidCores keeps the memory of this process and of all that it starts out of core dumps.
// A process that may not lower its own limit has one that is lower already.
func forbidCores() {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: noCore, Max: noCore})
}

// setNondumpable keeps other processes of the same user, root apart, from reading this one's
// environment and memory, and from tracing it. It does not reach what this process starts:
// the kernel undoes it at execve. A passfile under /proc/self/fd goes on working, because the
// child that opens it has been through execve, and may open its own descriptors anyway.
//
// A verifier that is not root stays as it is: the kernel gives the files under /proc of a
// nondumpable process to root, uid_map among them, and without that no sandbox can be made.
func setNondumpable(ctx context.Context, c config.Config, log *slog.Logger) {
	if os.Geteuid() != 0 && c.Sandbox != config.SandboxOff && slices.Contains(c.Roles, config.RoleVerifier) {
		return
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		log.WarnContext(ctx, "this process cannot be hidden from others of its user", "error", err)
	}
}
