package storagetest

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// badKeys are keys that the core never makes.
var badKeys = []string{
	"", ".", "..", "/", "/etc/passwd", "acme/", "/acme", "acme//r", "acme/../x", "acme/./x", "../acme/x",
	".staging/x", "acme/.hidden", "acme/r.", "acme/r.1.sql.manifest.json", "acme/r.1.sql.part-00001",
	"acme.manifest.json/r", "acme/a b", "acme/a\\b", "acme/a:b", "acme/a%2e", "acme/ä", "acme/\x00", "acme/\n",
	"acme/\xff", "acme/" + strings.Repeat("x", 221), strings.Repeat("x/", 350) + "xx",
}

func repositoryBadKeys(t *testing.T, dst Destination) {
	r := dst.repository(t, nil)
	for _, key := range badKeys {
		_, putErr := r.Put(background(t), key, iotest.ErrReader(errBroken), Describe(key, nil))
		_, openErr := r.Open(background(t), key)
		_, manifestErr := r.Manifest(background(t), key)
		for what, err := range map[string]error{
			"put": putErr, "open": openErr, "manifest": manifestErr, "delete": r.Delete(background(t), key),
		} {
			if !errors.Is(err, storage.ErrBadKey) || code(err) != codes.InternalError {
				t.Errorf("%s %q: %v", what, key, err)
			}
		}
	}
	dst.expectRemains(t, 0)
}

func repositoryRemove(t *testing.T, dst Destination) {
	r := dst.repository(t, nil)
	data := Bytes(max(1000, 2*dst.PartSize, 3*dst.Driver.Traits().MaxBlob))
	if d, err := r.Remove(background(t), someKey); err != nil || d != storage.Absent {
		t.Errorf("remove nothing: %v, %v", d, err)
	}
	save(t, r, "acme/label/keep.1.sql", Bytes(10))
	kept := len(dst.Remains(t))
	save(t, r, someKey, data)
	if d, err := dst.repository(t, dst.Reopen(t)).Remove(background(t), someKey); err != nil || d == storage.Absent {
		t.Errorf("remove: %v, %v", d, err)
	}
	dst.expectRemains(t, kept)
	if _, err := load(t, r, someKey); !errors.Is(err, storage.ErrNotFound) || code(err) != codes.StorageUnavailable {
		t.Errorf("open after remove: %v", err)
	}
	if d, err := r.Remove(background(t), someKey); err != nil || d != storage.Absent {
		t.Errorf("remove again: %v, %v", d, err)
	}
	// Unfinished: parts without a manifest, as a killed process leaves them.
	ref := dst.put(t, dst.data(someKey), Bytes(100))
	if dst.Journal != nil {
		if err := dst.Journal.Note(background(t), someKey, ref); err != nil {
			t.Fatal(err)
		}
	}
	if dst.Crash != nil {
		dst.Crash(t, someKey)
	}
	if _, err := r.Manifest(background(t), someKey); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("an unfinished export is visible: %v", err)
	}
	if err := r.Delete(background(t), someKey); err != nil {
		t.Errorf("remove unfinished: %v", err)
	}
	dst.expectRemains(t, kept)
	save(t, r, someKey, data) // the key can be used again
	expectLoad(t, r, someKey, data)
	expectLoad(t, r, "acme/label/keep.1.sql", Bytes(10))
}

// listing returns the result of Manifests: nil or an error for each key.
func listing(t *testing.T, r *storage.Repository) map[string]error {
	t.Helper()
	got := map[string]error{}
	for doc, err := range r.Manifests(background(t)) {
		if _, ok := got[doc.Key]; ok {
			t.Errorf("%s is listed twice", doc.Key)
		}
		got[doc.Key] = err
	}
	return got
}
