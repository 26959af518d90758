package sandbox

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// Init takes the part of init when this is the first process of a container: it starts the
// program once more as its child, hands signals on and returns the child's exit code. done is
// false in any other process, which goes on.
//
// Whatever the program's children leave behind becomes a child of the first process: pg_dump's
// workers when pg_dump is killed. A process that waits for children by itself, as os/exec does,
// cannot wait for all: it would take exit codes from os/exec. So two processes share the work.
func Init() (code int, done bool) {
	if os.Getpid() != 1 {
		return 0, false
	}
	_ = SetNondumpable() // its environment holds the same secrets
	came := make(chan os.Signal, 64)
	signal.Notify(came, unix.SIGCHLD, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	_, err := unix.IoctlGetTermios(0, unix.TCGETS)
	child, err := syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{ //nolint:gosec // this program itself, with its own arguments
		Env: os.Environ(), Files: []uintptr{0, 1, 2},
		// A group of its own: else a Ctrl-C would come twice, from the terminal and handed on.
		Sys: &syscall.SysProcAttr{Setpgid: true, Foreground: err == nil},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "pgcourier: start the program under its own init:", err)
		return failed, true
	}
	for s := range came {
		if s != unix.SIGCHLD {
			if number, ok := s.(syscall.Signal); ok {
				_ = unix.Kill(child, number) // fails only once it has ended
			}
			continue
		}
		if code, ended := reap(child); ended {
			return code, true
		}
	}
	return failed, true
}

// reap waits for every child that has ended. ended: the program was among them, and ended with
// code.
func reap(child int) (code int, ended bool) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || pid <= 0:
			return code, ended
		case pid == child && status.Exited():
			code, ended = status.ExitStatus(), true
		case pid == child && status.Signaled():
			const signalled = 128 // as shells do
			code, ended = signalled+int(status.Signal()), true
		}
	}
}
