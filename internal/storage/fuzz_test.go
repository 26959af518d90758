package storage_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// Accepted text is a manifest of one value, and stays the same with other white space.
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
		// A lenient reader, which folds case and takes the last of two equal names, must see the
		// same values, except for the description, to which later versions may add.
		var lenient struct {
			Version  int             `json:"version"`
			Key      string          `json:"key"`
			Bytes    int64           `json:"bytes"`
			SHA256   string          `json:"sha256"`
			Parts    []storage.Part  `json:"parts"`
			Manifest json.RawMessage `json:"manifest"`
			Sealed   []byte          `json:"sealed"`
			Check    string          `json:"check"`
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&lenient); err != nil || dec.More() {
			t.Fatalf("accepted what a lenient reader does not: %v", err)
		}
		again := storage.Document{
			Version: lenient.Version, Key: lenient.Key, Bytes: lenient.Bytes, SHA256: lenient.SHA256, Parts: lenient.Parts,
			Sealed: lenient.Sealed,
		}
		doc.Manifest = export.Manifest{}
		ours, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if theirs, err := json.Marshal(again); err != nil || !bytes.Equal(ours, theirs) {
			t.Errorf("read as %s, by a lenient reader as %s, %v", ours, theirs, err)
		}
	})
}

// A name and a path have the same content, and no path leaves its folder.
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
