package pgdump_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/spool"
)

// fillVariable makes the test binary a process with a spool on a full disk.
const fillVariable = "PGDUMP_TEST_FILL"

// exitNoMount says that the small file system could not be mounted.
const exitNoMount = 3

func fillSpool(dsn string) int {
	dir := os.Getenv(spoolVariable)
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=2m,mode=700"); err != nil {
		fmt.Println(err)
		return exitNoMount
	}
	a, err := spool.Open(dir)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	d, err := pgdump.New(pgdump.Config{Spool: a, DefaultDSN: export.Secret(dsn), Logger: slog.New(slog.NewTextHandler(os.Stdout, nil))})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	dump, err := d.Open(context.Background(), export.DumpJob{Schemas: []string{"big"}, Format: export.Directory, Jobs: 2})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	_, err = io.Copy(io.Discard, dump)
	f, ok := errors.AsType[*export.Fault](err)
	if !ok || f.Code != codes.SpoolUnavailable || f.Code.Permanent() {
		fmt.Println("a full disk gave:", err)
		return 1
	}
	fmt.Println(err)
	if err := dump.Close(); err != nil || size(dir) != 0 {
		fmt.Println("left after Close:", size(dir), err)
		return 1
	}
	return 0
}

// The file system is really full: a tmpfs of 2 MiB, mounted in a process with its own user and
// mount namespaces. If the kernel refuses such a process, only the measuring is tested.
func TestAFullDiskUnderTheSpool(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), fillVariable+"="+database(t, cluster, large), spoolVariable+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", bytes.TrimSpace(out))
	exit, ran := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
	case ran && exit.ExitCode() != exitNoMount:
		t.Error(err)
	default:
		f, err := area(t, t.TempDir()).Folder()
		if err != nil {
			t.Fatal(err)
		}
		if free, err := f.Free(); err != nil || free < 1<<20 {
			t.Errorf("%d bytes are free, %v", free, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
