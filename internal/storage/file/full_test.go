package file_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/file"
)

const fillDir = "PGCOURIER_TEST_FILL_DIR"

// TestFullDisk writes to a file system that is really full: a tmpfs of 1 MiB, mounted in a process
// with its own user and mount namespaces. If the kernel refuses such a process, a limit on the size
// of files replaces it.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(how string, attr *syscall.SysProcAttr) error {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), fillDir+"="+dir, "PGCOURIER_TEST_FILL="+how)
		cmd.SysProcAttr = attr
		out, err := cmd.CombinedOutput()
		t.Logf("%s: %s", how, bytes.TrimSpace(out))
		return err
	}
	err := run("tmpfs", &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	})
	exit, ran := errors.AsType[*exec.ExitError](err)
	if err != nil && (!ran || exit.ExitCode() == exitNoMount) {
		t.Logf("no namespaces here (%v): limiting the size of files instead", err)
		err = run("rlimit", nil)
	}
	if err != nil {
		t.Error(err)
	}
}

// exitNoMount says that the tmpfs could not be mounted.
const exitNoMount = 3

// fillIfTold makes this process the one with the full disk.
func fillIfTold() bool {
	dir := os.Getenv(fillDir)
	if dir == "" {
		return false
	}
	var err error
	if os.Getenv("PGCOURIER_TEST_FILL") == "tmpfs" {
		err = unix.Mount("none", dir, "tmpfs", 0, "size=1m")
	} else {
		err = unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(exitNoMount)
	}
	if err := fill(dir); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	return true
}

func fill(dir string) error {
	d, err := file.Open(dir + "/store")
	if err == nil {
		err = d.Mark(context.Background(), storage.NewMarker(time.Now()))
	}
	if err != nil {
		return err
	}
	r, err := storage.New(storage.Config{Driver: d})
	if err != nil {
		return err
	}
	put := func(key string, size int64) error {
		data := storagetest.Bytes(size)
		_, err := r.Put(context.Background(), key, bytes.NewReader(data), storagetest.Describe(key, data))
		return err
	}
	if err := put("acme/small.1.sql", 300<<10); err != nil {
		return err
	}
	err = put("acme/large.1.sql", 2<<20)
	f, ok := errors.AsType[*export.Fault](err)
	if !ok || f.Code != codes.StorageFull || !errors.Is(err, storage.ErrFull) {
		return fmt.Errorf("a full disk gave: %w", err)
	}
	fmt.Println(err)
	for n, err := range d.Names(context.Background()) {
		if err != nil || n.Key != "acme/small.1.sql" {
			return fmt.Errorf("%s is visible: %w", n, err)
		}
	}
	left, err := os.ReadDir(dir + "/store/.staging")
	if err != nil || len(left) != 0 {
		return fmt.Errorf("staging holds %v: %w", left, err)
	}
	// The space is free again: nothing holds the deleted file.
	return put("acme/second.1.sql", 300<<10)
}
