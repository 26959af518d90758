package file_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/file"
)

func TestMain(m *testing.M) {
	if crashIfTold() || fillIfTold() {
		return
	}
	goleak.VerifyTestMain(m)
}

// open opens a folder, and makes it first, without a marker, if it is missing.
func open(t *testing.T, dir string) *file.Driver {
	t.Helper()
	check(t, os.MkdirAll(dir, 0o700))
	d, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func repository(t *testing.T, d storage.Driver) *storage.Repository {
	t.Helper()
	r, err := storage.New(storage.Config{Driver: d})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// files lists every file under dir, except the litter of the suite.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	check(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && !strings.Contains(name, "litter") {
			names = append(names, strings.TrimPrefix(name, dir+"/"))
		}
		return err
	}))
	return names
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, 1000, func(t *testing.T) storagetest.Destination {
		dir := filepath.Join(t.TempDir(), "store")
		return storagetest.Destination{
			Driver: open(t, dir),
			// The driver writes in pieces of 256 KiB.
			PartSize: 256 << 10,
			Reopen:   func(t *testing.T) storage.Driver { return open(t, dir) },
			Alter: func(t *testing.T, ref storage.Ref, data []byte) {
				check(t, os.WriteFile(filepath.Join(dir, string(ref)), data, 0o600))
			},
			Litter:  func(t *testing.T) { litter(t, dir) },
			Remains: func(t *testing.T) []string { return files(t, dir) },
			Crash:   func(t *testing.T, key string) { crash(t, dir, key) },
		}
	})
}

// litter adds files of other programs and people to folders.
func litter(t *testing.T, dir string) {
	t.Helper()
	for _, sub := range []string{"lost+found", ".snapshot/acme", "acme/litter folder", "acme/litter.manifest.json"} {
		check(t, os.MkdirAll(filepath.Join(dir, sub), 0o700))
	}
	for _, name := range []string{
		"lost+found/litter.sql", ".snapshot/acme/litter.1.sql.manifest.json", "acme/.litter.swp", "acme/litter~",
		"acme/litter 1.sql", ".litter.DS_Store", ".staging/litter",
	} {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600))
	}
	check(t, os.Symlink("/etc/passwd", filepath.Join(dir, "acme/litter.1.sql")))
	check(t, os.Symlink("/nowhere", filepath.Join(dir, "acme/litter.2.sql.manifest.json")))
	check(t, os.Symlink(dir, filepath.Join(dir, "acme/litter-loop")))
}
