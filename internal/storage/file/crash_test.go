package file_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/file"
)

const (
	crashDir = "PGCOURIER_TEST_CRASH_DIR"
	crashKey = "PGCOURIER_TEST_CRASH_KEY"
)

// crashIfTold makes this process a writer that is stuck in the middle of Put, for its parent to
// kill.
func crashIfTold() bool {
	dir, key := os.Getenv(crashDir), os.Getenv(crashKey)
	if dir == "" {
		return false
	}
	d, err := file.Open(dir)
	if err != nil {
		panic(err)
	}
	// A part, so that the suite can have a whole export under the same key.
	name := storage.Name{Key: key, Part: storage.MaxParts}
	_, err = d.Put(context.Background(), storage.Blob{Name: name, Size: -1, Body: &stuck{left: 1 << 20}})
	panic(err)
}

// stuck returns its bytes, reports that on stdout, and then waits for ever.
type stuck struct{ left int }

func (s *stuck) Read(p []byte) (int, error) {
	if s.left <= 0 {
		_, _ = os.Stdout.WriteString("stuck\n")
		_, err := os.Stdin.Read(p[:1]) // the parent never writes
		return 0, err
	}
	n := min(len(p), s.left)
	s.left -= n
	return n, nil
}

// crash kills -9 a process in the middle of Put of key.
func crash(t *testing.T, dir, key string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashKey+"="+key)
	out, err := cmd.StdoutPipe()
	check(t, err)
	in, err := cmd.StdinPipe()
	check(t, err)
	defer func() { _ = in.Close() }() // closed by Wait already
	check(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "stuck\n" {
		t.Errorf("the writer said %q: %v", line, err)
	}
	check(t, cmd.Process.Kill())
	if err := cmd.Wait(); err == nil {
		t.Error("the writer was not killed")
	}
}

func TestKilledWriterLeavesNothingVisible(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const key = "acme/r.1.sql"
	crash(t, dir, key)
	left := files(t, dir)
	if len(left) != 1 || !strings.HasPrefix(left[0], ".staging/") {
		t.Fatalf("the killed writer left %q", left)
	}
	r := repository(t, open(t, dir))
	if _, err := r.Open(t.Context(), key); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("its export is visible: %v", err)
	}
	for doc, err := range r.Manifests(t.Context()) {
		t.Errorf("%s is listed, %v", doc.Key, err)
	}
	check(t, r.Delete(t.Context(), "acme/r.1.sq"))
	if len(files(t, dir)) != 1 {
		t.Error("another key's deletion removed it")
	}
	check(t, r.Delete(t.Context(), key))
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("after Delete there is still %q", left)
	}
	// The next attempt is not disturbed.
	_, err := r.Put(t.Context(), key, strings.NewReader("whole"), storagetest.Describe(key, []byte("whole")))
	check(t, err)
	body, err := r.Open(t.Context(), key)
	check(t, err)
	if b, err := io.ReadAll(body); string(b) != "whole" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	check(t, body.Close())
}
