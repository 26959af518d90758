package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// failed is the exit status of a box that could not be built; the reason is on stderr.
const failed = 125

// Enter is called first in main. In a process that a Box has started it builds the box, runs
// the program, or becomes it, and never returns; in any other it does nothing.
func Enter() {
	if os.Args[0] != name {
		return
	}
	// Rights and no_new_privs belong to a thread; the program is started from this one.
	runtime.LockOSThread()
	code, err := inside()
	if err != nil {
		fmt.Fprintf(os.Stderr, "sandbox: %v\n", err)
		code = failed
	}
	os.Exit(code)
}

func inside() (int, error) {
	if len(os.Args) < 3 {
		return 0, errors.New("started without a description")
	}
	var b Box
	if err := json.Unmarshal([]byte(os.Args[1]), &b); err != nil {
		return 0, fmt.Errorf("read the description: %w", err)
	}
	if b.Landlock {
		return 0, b.become(os.Args[2], os.Args[2:])
	}
	if err := b.build(); err != nil {
		return 0, err
	}
	inherited := handOver(b)
	if err := b.drop(); err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	cmd := &exec.Cmd{
		Path: os.Args[2], Args: os.Args[2:], Env: os.Environ(), Dir: "/",
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, ExtraFiles: inherited,
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the program: %w", err)
	}
	// This process's own copies would keep a pipe open after the program closed its own.
	for _, f := range append(inherited, os.Stdin, os.Stdout) {
		_ = f.Close()
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// handOver finds the descriptors that the program is to have from 3 on, and lets its user open
// the first again through /proc: libpq's passfile.
func handOver(b Box) []*os.File {
	var out []*os.File
	for fd := 3; fd < 16; fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			break
		}
		if b.UID != 0 && fd == 3 { // the passfile, and nothing that has a name
			_ = unix.Fchown(fd, int(b.UID), int(b.GID)) // a pipe has no owner that counts
		}
		out = append(out, os.NewFile(uintptr(fd), "inherited"))
	}
	return out
}

// drop gives up every capability for good, and the user if another was asked for.
func (b Box) drop() error {
	for c := 0; c <= unix.CAP_LAST_CAP; c++ {
		// Without the right to shrink the bounding set it cannot be used either: no_new_privs.
		_ = unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
	}
	if b.UID != 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(int(b.GID), int(b.GID), int(b.GID)),
			syscall.Setresuid(int(b.UID), int(b.UID), int(b.UID))); err != nil {
			return fmt.Errorf("change the user: %w", err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear ambient rights: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("give up rights: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	// A change of user or rights has cleared it.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("end with the parent: %w", err)
	}
	return nil
}
