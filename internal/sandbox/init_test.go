package sandbox_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/internal/sandbox"
)

// initVariable makes the test binary the first process of a container.
const initVariable = "SANDBOX_TEST_INIT"

const (
	exitAsChild = 42
	exitNoMount = 43
)

// As the first process it reaps the processes that its child's children leave, takes no exit code
// from os/exec, and ends with its child's.
func TestTheFirstProcessReapsOrphans(t *testing.T) {
	t.Parallel()
	for how, want := range map[string]int{"reap": exitAsChild, "signal": 128 + int(unix.SIGTERM)} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), initVariable+"="+how)
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
			}
			out, err := cmd.CombinedOutput()
			exit, exited := errors.AsType[*exec.ExitError](err)
			if err != nil && !exited || exited && exit.ExitCode() == exitNoMount {
				t.Skipf("this machine permits no process its own namespaces: %v %s", err, out)
			}
			if !exited || exit.ExitCode() != want {
				t.Errorf("%v, want exit code %d\n%s", err, want, out)
			}
		})
	}
}

// asInit is the process in its namespace: first as init, then as init's child.
func asInit(how string) int {
	if os.Getpid() == 1 {
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			fmt.Println(err)
			return exitNoMount
		}
	}
	if code, done := sandbox.Init(); done {
		return code
	}
	if how == "signal" { // handed on by init, and not caught
		if err := unix.Kill(1, unix.SIGTERM); err != nil {
			fmt.Println(err)
		}
		for { // without a timer the runtime may report a deadlock and end the process
			time.Sleep(time.Hour)
		}
	}
	if err := leaveOrphans(); err != nil {
		fmt.Println(err)
		return 1
	}
	return exitAsChild
}

func leaveOrphans() error {
	for range 20 {
		out, err := exec.Command("sh", "-c", "sleep 0.05 >/dev/null 2>&1 & echo $!").Output()
		if err != nil {
			return fmt.Errorf("exit code taken: %w", err)
		}
		orphan := strings.TrimSpace(string(out))
		err = exec.Command("sh", "-c", "sleep 0.01; exit 7").Run()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 7 {
			return fmt.Errorf("exit code taken: %w", err)
		}
		for deadline := time.Now().Add(time.Minute); ; {
			if _, err := os.Stat("/proc/" + orphan); err != nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s is still there", orphan)
			}
			time.Sleep(time.Millisecond) // between two looks
		}
	}
	return nil
}
