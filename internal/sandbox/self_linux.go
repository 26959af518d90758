package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// noCore is the limit of a core dump that makes the kernel write none. With 0 a
// core_pattern that is a pipe (systemd-coredump, apport) would get one all the same; 1 is
// the value with which the kernel refuses a pipe too, and less than the smallest file it
// writes: core(5), fs/coredump.c.
const noCore = 1

// ForbidCores keeps the memory of this process and of all that it starts out of core dumps.
// A process that may not lower its own limit has one that is lower already.
func ForbidCores() {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: noCore, Max: noCore})
}

// SetNondumpable keeps other processes of the same user, root apart, from reading this one's
// environment and memory, and from tracing it. It does not reach what this process starts:
// the kernel undoes it at execve. A passfile under /proc/self/fd goes on working, because the
// child that opens it has been through execve, and may open its own descriptors anyway.
//
// A process that is not root and makes sandboxes must stay as it is: the kernel gives the files
// under /proc of a nondumpable process to root, uid_map among them, and without that no sandbox
// can be made.
func SetNondumpable() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("set the process nondumpable: %w", err)
	}
	return nil
}
