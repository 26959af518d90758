// Package sandboxtest skips tests of namespaces on a machine that permits none, such as a container without
// CAP_SYS_ADMIN. It asks the machine with unshare(1) and not with package sandbox: a fault of that package must
// fail its tests, not skip them.
package sandboxtest

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
)

// Need skips the test if this machine permits this user no namespaces with mounts of their own, as a sandbox has.
func Need(t testing.TB) {
	t.Helper()
	Namespaces(t, box...)
}

// NeedAs is Need for a process of another user, which only root may ask for.
func NeedAs(t testing.TB, as *syscall.Credential) {
	t.Helper()
	need(t, as, box)
}

// box are the flags of unshare for the namespaces of a sandbox.
var box = []string{"--mount", "--pid", "--ipc", "--uts", "--net", "--fork", "--mount-proc"}

// Namespaces skips the test if this machine permits no namespaces with these flags of unshare. Users other than root
// also need a user namespace.
func Namespaces(t testing.TB, flags ...string) {
	t.Helper()
	need(t, nil, flags)
}

func need(t testing.TB, as *syscall.Credential, flags []string) {
	t.Helper()
	if as != nil || os.Geteuid() != 0 {
		flags = append([]string{"--user", "--map-root-user"}, flags...)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", append(slices.Clone(flags), "true")...) //nolint:gosec // the flags are those of a test
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	out, err := cmd.CombinedOutput()
	_, refused := errors.AsType[*exec.ExitError](err)
	if refused || errors.Is(err, exec.ErrNotFound) || errors.Is(err, syscall.EPERM) { // EPERM: as cannot be taken
		t.Skipf("this machine permits no namespaces, so this is not shown here: %v %s", err, out)
	}
	if err != nil {
		t.Fatal(err)
	}
}
