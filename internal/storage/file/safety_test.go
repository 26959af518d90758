package file_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
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

func TestModes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "store")
	d, err := file.Open(dir)
	check(t, err)
	check(t, d.Mark(t.Context(), storage.NewMarker(time.Now())))
	defer func() { check(t, d.Close()) }()
	r := repository(t, d)
	const key = "acme/label/r.1.sql"
	copies, err := r.Put(t.Context(), key, strings.NewReader("x"), storagetest.Describe(key, []byte("x")))
	check(t, err)
	if copies[0].URI != "file:"+key {
		t.Errorf("URI %q", copies[0].URI)
	}
	for name, want := range map[string]os.FileMode{
		"": os.ModeDir | 0o700, "acme": os.ModeDir | 0o700, "acme/label": os.ModeDir | 0o700,
		".staging": os.ModeDir | 0o700, storage.MarkerName: 0o600, key: 0o600, key + ".manifest.json": 0o600,
	} {
		info, err := os.Lstat(filepath.Join(dir, name))
		check(t, err)
		if info.Mode() != want {
			t.Errorf("%q is %v, want %v", name, info.Mode(), want)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, key+".manifest.json"))
	check(t, err)
	if bytes.Contains(b, []byte(dir)) {
		t.Error("the manifest holds a server path")
	}
}

// Another writer of the root has put links where folders, files and staging are expected. Nothing is written, read or removed through them.
func TestLinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	const key = "acme/r.1.sql"
	for what, plant := range map[string]func(t *testing.T, dir, outside string){
		"project folder leads out": func(t *testing.T, dir, outside string) {
			check(t, os.Symlink(outside, filepath.Join(dir, "acme")))
		},
		"project folder leads to another project": func(t *testing.T, dir, _ string) {
			check(t, os.Mkdir(filepath.Join(dir, "beta"), 0o700))
			check(t, os.WriteFile(filepath.Join(dir, "beta/r.1.sql"), []byte("victim"), 0o600))
			check(t, os.Symlink("beta", filepath.Join(dir, "acme")))
		},
		"export leads out": func(t *testing.T, dir, outside string) {
			check(t, os.Mkdir(filepath.Join(dir, "acme"), 0o700))
			check(t, os.Symlink(filepath.Join(outside, "r.1.sql"), filepath.Join(dir, key)))
		},
		"export leads to nothing": func(t *testing.T, dir, outside string) {
			check(t, os.Mkdir(filepath.Join(dir, "acme"), 0o700))
			check(t, os.Symlink(filepath.Join(outside, "new"), filepath.Join(dir, key)))
		},
		"manifest leads out": func(t *testing.T, dir, outside string) {
			check(t, os.Mkdir(filepath.Join(dir, "acme"), 0o700))
			check(t, os.Symlink(filepath.Join(outside, "r.1.sql"), filepath.Join(dir, key+".manifest.json")))
		},
		"staging leads out": func(t *testing.T, dir, outside string) {
			check(t, os.Symlink(outside, filepath.Join(dir, ".staging")))
		},
		"project folder is a file": func(t *testing.T, dir, _ string) {
			check(t, os.WriteFile(filepath.Join(dir, "acme"), nil, 0o600))
		},
		"export is a pipe": func(t *testing.T, dir, _ string) {
			check(t, os.Mkdir(filepath.Join(dir, "acme"), 0o700))
			check(t, unix.Mkfifo(filepath.Join(dir, key), 0o600))
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir, outside := t.TempDir(), t.TempDir()
			check(t, os.WriteFile(filepath.Join(outside, "r.1.sql"), []byte("victim"), 0o600))
			plant(t, dir, outside)
			d := open(t, dir)
			r := repository(t, d)
			_, err := r.Put(t.Context(), key, strings.NewReader("x"), storagetest.Describe(key, []byte("x")))
			if err == nil {
				t.Error("stored nevertheless")
			}
			// If a file is in the place of a folder, waiting does not help.
			folder := strings.Contains(what, "folder") || strings.Contains(what, "staging")
			if f, ok := errors.AsType[*export.Fault](err); folder && (!ok || f.Code != codes.StorageRefused ||
				f.Message != "in the storage a link or a file lies where a folder has to be") {
				t.Errorf("put: %v", err)
			}
			if body, err := d.Open(t.Context(), key, 0); err == nil {
				t.Errorf("opened nevertheless; close: %v", body.Close())
			}
			_ = r.Delete(t.Context(), key) // may fail, but must not write through a link
			for _, victim := range []string{filepath.Join(outside, "r.1.sql"), filepath.Join(dir, "beta/r.1.sql")} {
				b, err := os.ReadFile(victim)
				if !errors.Is(err, os.ErrNotExist) && string(b) != "victim" {
					t.Errorf("%s is %q now: %v", victim, b, err)
				}
			}
			if left, err := os.ReadDir(outside); err != nil || len(left) != 1 {
				t.Errorf("files outside: %v, %v", left, err)
			}
		})
	}
}

// The root's own name may be a link, and a later change of the name has no effect.
func TestRootIsResolvedOnce(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	link := filepath.Join(base, "backups")
	check(t, os.Mkdir(filepath.Join(base, "big"), 0o700))
	check(t, os.Symlink("big", link))
	r := repository(t, open(t, link))
	check(t, os.Remove(link))
	check(t, os.Symlink("/nowhere", link))
	_, err := r.Put(t.Context(), "acme/r.1.sql", strings.NewReader("x"), storagetest.Describe("acme/r.1.sql", []byte("x")))
	check(t, err)
	if got := files(t, filepath.Join(base, "big")); len(got) != 2 {
		t.Errorf("the root holds %q", got)
	}
}

func TestUnusableRoot(t *testing.T) {
	t.Parallel()
	plain := filepath.Join(t.TempDir(), "plain")
	check(t, os.WriteFile(plain, nil, 0o600))
	for _, dir := range []string{"", plain, filepath.Join(plain, "below")} {
		if _, err := file.Open(dir); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("open %q: %v", dir, err)
		}
	}
	d, err := file.Open("/proc/none/store")
	check(t, err)
	if err := d.Mark(t.Context(), storage.NewMarker(time.Now())); !errors.Is(err, storage.ErrUnavailable) && !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("mark where nothing can be made: %v", err)
	}
	check(t, d.Close())
}

// Rights that are lost while running. Root ignores modes, so the test removes the folder, which
// also affects root.
func TestLostRights(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	d := open(t, dir)
	r := repository(t, d)
	check(t, d.Check(t.Context()))
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("the check left %q", got)
	}
	const key = "acme/r.1.sql"
	_, err := r.Put(t.Context(), key, strings.NewReader("x"), storagetest.Describe(key, []byte("x")))
	check(t, err)
	if os.Geteuid() == 0 {
		check(t, os.RemoveAll(dir))
	} else {
		check(t, os.Chmod(dir, 0o500))
		check(t, os.Chmod(filepath.Join(dir, ".staging"), 0o500))
		t.Cleanup(func() { check(t, os.Chmod(filepath.Join(dir, ".staging"), 0o700)) })
		t.Cleanup(func() { check(t, os.Chmod(dir, 0o700)) })
	}
	const other = "acme/r.2.sql"
	if err := d.Check(t.Context()); !errors.Is(err, storage.ErrUnavailable) && !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("check without rights: %v", err)
	}
	_, err = r.Put(t.Context(), other, strings.NewReader("x"), storagetest.Describe(other, []byte("x")))
	f, ok := errors.AsType[*export.Fault](err)
	if !ok || f.Code != codes.StorageUnavailable || strings.Contains(f.Message, dir) {
		t.Errorf("put without rights: %v", err)
	}
}

// The operator's folder may be on a file system with a read error or the like: the class of the
// fault depends on the error number only.
func TestErrorClasses(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]error{
		syscall.ENOSPC: storage.ErrFull, syscall.EDQUOT: storage.ErrFull, syscall.EFBIG: storage.ErrFull,
		syscall.EIO: storage.ErrUnavailable, syscall.EROFS: storage.ErrUnavailable, syscall.EACCES: storage.ErrUnavailable,
		syscall.ENOENT: storage.ErrNotFound,
	} {
		if got := file.Wrap(&os.PathError{Op: "write", Path: "x", Err: err}); !errors.Is(got, want) || !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
}
