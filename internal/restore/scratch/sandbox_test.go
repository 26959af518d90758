package scratch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/restore/scratch"
	"github.com/pgcourier/pgcourier/internal/sandbox"
)

// refusedVariable makes the test binary a process that may make no namespaces.
const refusedVariable = "SCRATCH_TEST_REFUSED"

// exitNoPlace says that this machine has no such process, or no Landlock.
const exitNoPlace = 3

func TestMain(m *testing.M) {
	sandbox.Enter()
	if os.Getenv(refusedVariable) != "" {
		os.Exit(withoutNamespaces())
	}
	os.Exit(m.Run())
}

// Where namespaces are refused, as in a container, Landlock confines the temporary server, with a warning;
// SANDBOX=require refuses that.
func TestLandlockIsUsedWhereNamespacesAreRefused(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), refusedVariable+"=1")
	const user = 1 // in its namespace: PostgreSQL refuses to run as root, and as a user without a name
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: user, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: user, HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_RESOURCE},
	}
	out, err := cmd.CombinedOutput()
	exit, exited := errors.AsType[*exec.ExitError](err)
	if exited && exit.ExitCode() == exitNoPlace || err != nil && !exited {
		t.Skipf("this machine has no process without namespaces, or no Landlock: %v %s", err, out)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func withoutNamespaces() int {
	ctx := context.Background()
	var none [2]unix.CapUserData
	err := errors.Join(os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0o600),
		unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0),
		unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]))
	if err == nil {
		err = sandbox.ProbeLandlock(ctx)
	}
	if err != nil {
		fmt.Println(err)
		return exitNoPlace
	}
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	in, err := scratch.OpenSandbox(ctx, config.SandboxAuto, log)
	if err != nil || in == nil || !strings.Contains(text.String(), "weaker sandbox of Landlock") {
		fmt.Printf("with auto: %v, %v\n%s", in, err, text.String())
		return 1
	}
	server := scratch.NewServer("", nil, in)
	if _, err := server.For(ctx, 1); err != nil {
		fmt.Println("start the temporary server:", err)
		return 1
	}
	if err := server.Close(); err != nil {
		fmt.Println("stop the temporary server:", err)
		return 1
	}
	if in, err := scratch.OpenSandbox(ctx, config.SandboxRequire, log); err == nil {
		fmt.Println("with require:", in)
		return 1
	}
	return 0
}
