package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// readOnlyVariable makes the test binary a process that mounts /tmp read-only and then becomes the
// program in the variable.
const readOnlyVariable = "E2E_TEST_READ_ONLY_TMP"

// exitNoMount says that /tmp could not be mounted.
const exitNoMount = 64

// pg_dump buffers the tables of a tar in /tmp, whatever TMPDIR says. Doctor names a /tmp that this user
// may not write to; with another TMPDIR as well.
func TestDoctorNamesATmpThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	p := setup(t)
	if f := p.diagnose(0, nil, "--only", "disk")["disk/tar"]; f.State != "ok" {
		t.Errorf("a /tmp that can be written: %+v", f)
	}
	program, err := exec.LookPath("pgcourier")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(p.environ(), "PATH=/usr/bin:/bin", "TMPDIR="+t.TempDir(), readOnlyVariable+"="+program)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	exit, exited := errors.AsType[*exec.ExitError](err)
	if exited && exit.ExitCode() == exitNoMount || err != nil && !exited {
		t.Skipf("this machine permits no process to mount its own file system: %v %s", err, out)
	}
	text := strings.Join(strings.Fields(string(out)), " ")
	if err != nil || !strings.Contains(text, "no folder /tmp that this user may write to: exports of format tar fail") || !strings.Contains(text, "make /tmp writable") {
		t.Errorf("doctor: %v\n%s", err, out)
	}
}

// behindReadOnlyTmp mounts /tmp read-only in this process's own mount namespace, and runs doctor there.
func behindReadOnlyTmp(program string) int {
	var s unix.Statfs_t
	const kept = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC // mount_namespaces(7): they must stay
	err := errors.Join(unix.Statfs("/tmp", &s), unix.Mount("/tmp", "/tmp", "", unix.MS_BIND|unix.MS_REC, ""))
	if err == nil {
		err = unix.Mount("", "/tmp", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|uintptr(s.Flags)&kept, "")
	}
	if err != nil {
		fmt.Println(err)
		return exitNoMount
	}
	fmt.Println(syscall.Exec(program, []string{program, "doctor", "--only", "disk"}, os.Environ()))
	return 1
}
