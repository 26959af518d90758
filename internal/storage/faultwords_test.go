package storage_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/file"
)

// A manifest of another export, or of another version, is not an unavailable storage: the fault
// does not pass by waiting.
func TestAFaultSaysWhatIsWrongWithAManifest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	driver, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := driver.Close(); err != nil {
			t.Error(err)
		}
	}()
	r, err := storage.New(storage.Config{Driver: driver})
	if err != nil {
		t.Fatal(err)
	}
	manifests := map[string][]byte{}
	path := func(key string) string { return filepath.Join(dir, key+".manifest.json") }
	for _, key := range []string{"acme/one.1.sql", "acme/two.1.sql"} {
		data := storagetest.Bytes(100)
		if _, err := r.Put(t.Context(), key, bytes.NewReader(data), storagetest.Describe(key, data)); err != nil {
			t.Fatal(err)
		}
		if manifests[key], err = os.ReadFile(path(key)); err != nil {
			t.Fatal(err)
		}
	}
	newer := bytes.Replace(manifests["acme/one.1.sql"], []byte(`"version": 1`), []byte(`"version": 2`), 1)
	for want, c := range map[error]struct {
		manifest []byte
		message  string
	}{
		storage.ErrForeign: {manifests["acme/two.1.sql"], "what was stored is that of another export or destination"},
		storage.ErrVersion: {newer, "the manifest was written by another version of pgcourier"},
	} {
		if err := os.WriteFile(path("acme/one.1.sql"), c.manifest, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := r.Manifest(t.Context(), "acme/one.1.sql")
		if f, ok := errors.AsType[*export.Fault](err); !errors.Is(err, want) || !ok || f.Message != c.message {
			t.Errorf("got %v, want %v as a fault: %s", err, want, c.message)
		}
	}
}
