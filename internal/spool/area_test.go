package spool_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/spool"
)

// holderVariable makes the test binary a process that uses a folder until it is killed.
const holderVariable = "SPOOL_TEST_AREA"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holderVariable); dir != "" {
		hold(dir)
		return
	}
	os.Exit(m.Run())
}

func hold(dir string) {
	a, err := spool.Open(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	f, err := a.Folder()
	if err == nil {
		err = os.WriteFile(filepath.Join(f.Path(), "file"), []byte("rows"), 0o600)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	child := exec.Command("sleep", "1000")
	if os.Getenv("SPOOL_TEST_CHILD") != "" {
		child.ExtraFiles = []*os.File{f.Held()}
		if err := child.Start(); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(child.Process.Pid)
	} else {
		fmt.Println(f.Path())
	}
	for { // without a timer the runtime may report a deadlock and end the process
		time.Sleep(time.Hour)
		runtime.KeepAlive(f) // it holds the lock
	}
}

// holder starts such a process and returns its first line.
func holder(t *testing.T, dir string, env ...string) (*os.Process, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(append(os.Environ(), holderVariable+"="+dir), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // "signal: killed"
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the holder said %q, %v", line, err)
	}
	return cmd.Process, line[:len(line)-1]
}

func folders(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "pgcourier-*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func open(t *testing.T, dir string) *spool.Area {
	t.Helper()
	a, err := spool.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAFolderIsPrivateAndGoesWithClose(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data", "spool")
	f, err := open(t, dir).Folder()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, f.Path()} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v; want mode 0700", path, info.Mode(), err)
		}
	}
	if err := f.Root().WriteFile("x", []byte("rows"), 0o600); err != nil {
		t.Fatal(err)
	}
	if free, err := f.Free(); err != nil || free <= 0 {
		t.Errorf("free: %d, %v", free, err)
	}
	for range 2 { // it is idempotent
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if left := folders(t, dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestLeftoversOfAKilledProcessAreRemovedAndNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	foreign := filepath.Join(dir, "exports")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	killed, lost := holder(t, dir)
	alive, kept := holder(t, dir)
	if err := killed.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := killed.Wait(); err != nil {
		t.Fatal(err)
	}
	mine, err := open(t, dir).Folder()
	if err != nil {
		t.Fatal(err)
	}
	if got := folders(t, dir); len(got) != 2 {
		t.Errorf("folders: %v, want %s and %s, not %s", got, kept, mine.Path(), lost)
	}
	if b, err := os.ReadFile(filepath.Join(kept, "file")); err != nil || string(b) != "rows" {
		t.Errorf("the living process's file: %q, %v", b, err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("a folder of others: %v", err)
	}
	if err := mine.Close(); err != nil {
		t.Error(err)
	}
	if err := alive.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := alive.Wait(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if got := folders(t, dir); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestAChildKeepsTheFolderOfItsKilledParent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	parent, line := holder(t, dir, "SPOOL_TEST_CHILD=1")
	var pid int
	if _, err := fmt.Sscan(line, &pid); err != nil {
		t.Fatalf("the holder said %q", line)
	}
	child, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := parent.Wait(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if got := folders(t, dir); len(got) != 1 {
		t.Errorf("folders while the child lives: %v, want its own", got)
	}
	if err := child.Kill(); err != nil {
		t.Fatal(err)
	}
	for len(folders(t, dir)) > 0 && t.Context().Err() == nil { // the test is not the child's parent
		open(t, dir)
	}
}

func TestAnAreaThatOthersCanWriteToIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := spool.Open(dir); !errors.Is(err, spool.ErrUnsafe) {
		t.Errorf("error = %v, want ErrUnsafe", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := spool.Open(file); err == nil {
		t.Error("a file was accepted as a folder")
	}
}
