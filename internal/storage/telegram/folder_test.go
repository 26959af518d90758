package telegram_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/telegram"
)

// saveChat downloads a chat's files by hand, under names of its own choice.
func saveChat(t *testing.T, b *bench, chat int64, dir string, name func(i int, original string) string) {
	t.Helper()
	for i, m := range b.Messages(chat) {
		if m.Name == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name(i, m.Name)), document(t, b, chat, m.ID), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func openFolder(t *testing.T, dir string) (*telegram.Folder, *storage.Repository) {
	t.Helper()
	f, err := telegram.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	r, err := storage.New(storage.Config{Driver: f, Journal: &storage.MemoryJournal{}})
	if err != nil {
		t.Fatal(err)
	}
	return f, r
}

// No bot, no network, no ledger: files that a human saved are enough.
func TestFolderDownloadedByHandIsRestored(t *testing.T) {
	t.Parallel()
	b := setup(t)
	repo, err := storage.New(storage.Config{Driver: b.smallDriver(t), Journal: &storage.MemoryJournal{}})
	if err != nil {
		t.Fatal(err)
	}
	exports := map[string][]byte{"acme/a.1.sql": random(5*smallPart + 3), "acme/b.1.sql": random(smallPart)}
	for k, data := range exports {
		if _, err := repo.Put(t.Context(), k, bytes.NewReader(data), storagetest.Describe(k, data)); err != nil {
			t.Fatal(err)
		}
	}
	names := map[string]func(int, string) string{
		"as they are": func(_ int, original string) string { return original },
		"renamed": func(i int, original string) string {
			if original == "pgcourier-index.pgc" {
				return "pgcourier-index (1).pgc"
			}
			return fmt.Sprintf("file %d.bin", i)
		},
	}
	for what, name := range names {
		dir := t.TempDir()
		saveChat(t, b, channel, dir, name)
		_, saved := openFolder(t, dir)
		found := 0
		for doc, err := range saved.Manifests(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			found++
			r, err := saved.Open(t.Context(), doc.Key)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err = errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, exports[doc.Key]) {
				t.Errorf("%s: %s: %d bytes, or others: %v", what, doc.Key, len(got), err)
			}
		}
		if found != len(exports) {
			t.Errorf("%s: found %d exports, want %d", what, found, len(exports))
		}
	}
}

func TestFolderThatLacksOrSpoilsAPart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.smallDriver(t)
	data := random(1000)
	ref := put(t, d, key, 1, data)
	dir := t.TempDir()
	folder, _ := openFolder(t, dir)
	if _, err := folder.Open(t.Context(), ref, 0); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	if doc, err := folder.Index(t.Context()); doc != nil || err != nil {
		t.Errorf("no index: %q, %v", doc, err)
	}
	if _, err := folder.Open(t.Context(), "elsewhere", 0); !errors.Is(err, storage.ErrForeign) {
		t.Errorf("foreign: %v", err)
	}
	spoilt := bytes.Clone(data)
	spoilt[500] ^= 1
	if err := os.WriteFile(filepath.Join(dir, "spoilt"), spoilt, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := folder.Open(t.Context(), ref, 0); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("spoilt: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "good"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := folder.Open(t.Context(), ref, 990)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, data[990:]) {
		t.Errorf("got %d bytes: %v", len(got), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	fresh, _ := openFolder(t, dir)
	if _, err := fresh.Open(ctx, ref, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}

func TestFolderTakesNothing(t *testing.T) {
	t.Parallel()
	folder, _ := openFolder(t, t.TempDir())
	_, perr := folder.Put(t.Context(), part(key, 1, random(1)))
	_, derr := folder.Delete(t.Context(), "x")
	for what, err := range map[string]error{"put": perr, "delete": derr, "index": folder.SetIndex(t.Context(), nil)} {
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := telegram.OpenFolder(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a folder that does not exist was opened")
	}
}
