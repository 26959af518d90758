package storage_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// Whatever is read as a manifest was written as one: it is of one piece, and it survives
// being stored in another white space.
func FuzzDecodeDocument(f *testing.F) {
	for _, seed := range []string{``, `{}`, `null`, `[]`, `{"version":1}`, `{"version":2}`, `{"version":1e9}`, `{"version":1,"check":""}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		doc, err := storage.DecodeDocument(b)
		if err != nil {
			if !errors.Is(err, storage.ErrDamaged) && !errors.Is(err, storage.ErrVersion) {
				t.Errorf("an error of no class: %v", err)
			}
			return
		}
		if described := doc.Manifest.Artifact != nil && doc.Manifest.Key == doc.Key; described == (doc.Sealed != nil) || storage.CheckKey(doc.Key) != nil {
			t.Errorf("accepted %+v", doc)
		}
		total := int64(0)
		for _, p := range doc.Parts {
			total += p.Bytes
		}
		if total != doc.Bytes {
			t.Errorf("parts of %d bytes for %d", total, doc.Bytes)
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(b, &object); err != nil {
			t.Errorf("accepted what is no object: %v", err)
		}
	})
}

// Names and paths are the same thing said twice, and no path leaves its folder.
func FuzzParseName(f *testing.F) {
	for _, seed := range []string{
		"acme/r.1.sql", "acme/r.1.sql.manifest.json", "acme/r.1.sql.part-00001", "acme/r.part-00000", "../x", "a//b", ".x",
		"a/.manifest.json", "a.part-00001.manifest.json", "a.manifest.json.part-00001", "\x00", "a/b\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		n, err := storage.ParseName(path)
		if err != nil {
			if !errors.Is(err, storage.ErrBadKey) {
				t.Errorf("an error of no class: %v", err)
			}
			return
		}
		if n.String() != path {
			t.Errorf("%q became %q", path, n.String())
		}
		if !filepath.IsLocal(path) {
			t.Errorf("accepted %q", path)
		}
	})
}
