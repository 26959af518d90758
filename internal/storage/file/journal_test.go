package file_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/file"
)

func openJournal(t *testing.T, dir string) *file.Journal {
	t.Helper()
	j, err := file.OpenJournal(dir)
	check(t, err)
	t.Cleanup(func() { check(t, j.Close()) })
	return j
}

func TestJournal(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "journal")
	j := openJournal(t, dir)
	ctx := t.Context()
	expect := func(key string, want ...storage.Ref) {
		t.Helper()
		// Another one, as after a crash.
		if got, err := openJournal(t, dir).Refs(ctx, key); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", key, got, err, want)
		}
	}
	expect("acme/a")
	check(t, j.Note(ctx, "acme/a", "one\n\"two\""))
	check(t, j.Note(ctx, "acme/a", "three"))
	check(t, j.Note(ctx, "acme/a", "three"))
	check(t, j.Note(ctx, "acme/b", "four"))
	expect("acme/a", "one\n\"two\"", "three")
	expect("acme/b", "four")

	// A note that was cut short harms neither what came before nor what comes after.
	names, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	check(t, err)
	for _, name := range names {
		info, err := os.Stat(name)
		check(t, err)
		if info.Mode() != 0o600 {
			t.Errorf("mode %v", info.Mode())
		}
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
		check(t, err)
		_, err = f.WriteString(`{"key":"acme/a","re`)
		check(t, err)
		check(t, f.Close())
	}
	expect("acme/b", "four")
	check(t, j.Note(ctx, "acme/b", "five"))
	expect("acme/b", "four", "five")

	check(t, j.Forget(ctx, "acme/a"))
	check(t, j.Forget(ctx, "acme/a"))
	expect("acme/a")
	expect("acme/b", "four", "five")
}

// The parts of an export that was never finished are found through the journal on disk.
func TestJournalBehindRepository(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, 10, func(t *testing.T) storagetest.Destination {
		d := storagetest.NewMemory(2048).Destination()
		d.Journal = openJournal(t, t.TempDir())
		return d
	})
}
