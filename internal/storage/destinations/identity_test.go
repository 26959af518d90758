package destinations_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// records is a ledger: places with their storages, and destinations with their stored exports.
type records map[string][]string

func (r records) StorageAt(_ context.Context, place string) (name, liesOn string, err error) {
	if s := r[place]; len(s) > 0 {
		return s[0], s[1], nil
	}
	return "", "", nil
}

func (r records) NoteStorage(_ context.Context, place, name, liesOn string) (string, error) {
	if len(r[place]) == 0 {
		r[place] = []string{name, liesOn}
	}
	return r[place][0], nil
}

func (r records) ReplaceStorage(_ context.Context, place, name, liesOn string) error {
	r[place] = []string{name, liesOn}
	return nil
}

func (r records) StoredAt(_ context.Context, destination string, _ int) ([]string, error) {
	return r[destination], nil
}

func (r records) StoredUnder(_ context.Context, beginnings []string) (bool, error) {
	return slices.ContainsFunc(r["uris"], func(uri string) bool {
		return slices.ContainsFunc(beginnings, func(b string) bool { return strings.HasPrefix(uri, b) })
	}), nil
}

var quiet = slog.New(slog.DiscardHandler)

func opened(t *testing.T, url string, o destinations.Options) *destinations.Destination {
	t.Helper()
	set, err := destinations.Open([]string{url}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	})
	return set[0]
}

func try(d *destinations.Destination, key string) error {
	_, err := d.Put(context.Background(), key, strings.NewReader("x"), storagetest.Describe(key, []byte("x")))
	return err
}

func TestAnEmptyFolderInThePlaceOfAStorageIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "srv", "exports")
	r := records{}
	d := opened(t, "file://"+dir, destinations.Options{})
	if err := d.Claim(t.Context(), r, quiet); err != nil {
		t.Fatal(err)
	}
	put(t, d, "acme/one.1.sql")
	// The file system is not mounted: its mount point is empty, or missing below another one.
	for name, lose := range map[string]func() error{
		"empty":   func() error { return os.Mkdir(dir, 0o700) },
		"missing": func() error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			away := dir + ".away"
			if err := errors.Join(os.Rename(dir, away), lose()); err != nil {
				t.Fatal(err)
			}
			// A worker that runs, one that starts, and a reader.
			reader := opened(t, "file://"+dir, destinations.Options{})
			if err := reader.Bind(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			started := opened(t, "file://"+dir, destinations.Options{})
			err := started.Claim(t.Context(), r, quiet)
			if !errors.Is(err, storage.ErrNotMarked) || !strings.Contains(err.Error(), "mounted") || !strings.Contains(err.Error(), "pgcourier storage adopt file") {
				t.Errorf("claim: %v", err)
			}
			for who, d := range map[string]*destinations.Destination{"running": d, "started": started, "reading": reader} {
				f, ok := errors.AsType[*export.Fault](try(d, "acme/two.1.sql"))
				if !ok || f.Code != codes.StorageUnavailable || !errors.Is(f, storage.ErrNotMarked) || strings.Contains(f.Message, dir) {
					t.Errorf("%s: put: %v", who, f)
				}
				if _, err := d.Remove(t.Context(), "acme/one.1.sql"); !errors.Is(err, storage.ErrNotMarked) {
					t.Errorf("%s: remove: %v", who, err)
				}
				if _, err := d.Copy(t.Context(), "acme/one.1.sql"); !errors.Is(err, storage.ErrNotMarked) {
					t.Errorf("%s: a copy: %v", who, err)
				}
				if err := d.Confirm(t.Context()); !errors.Is(err, storage.ErrNotMarked) {
					t.Errorf("%s: confirm: %v", who, err)
				}
			}
			if left, err := os.ReadDir(dir); len(left) != 0 || err != nil && name == "empty" || err == nil && name == "missing" {
				t.Errorf("files on the wrong disk: %v, %v", left, err)
			}
			if err := errors.Join(os.RemoveAll(dir), os.Rename(away, dir)); err != nil {
				t.Fatal(err)
			}
			// It is mounted again: nothing has to be restarted.
			for who, d := range map[string]*destinations.Destination{"running": d, "started": started, "reading": reader} {
				if _, err := d.Copy(t.Context(), "acme/one.1.sql"); err != nil {
					t.Errorf("%s: after it: %v", who, err)
				}
			}
		})
	}
}

func TestAStorageIsMarkedOnceAndKnownByIt(t *testing.T) {
	t.Parallel()
	s3 := bucketURL(t)
	for name, url := range map[string]string{"file": "file://" + t.TempDir(), "s3": s3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := destinations.Options{S3: credentials.NewStaticV4("k", "s", "")}
			r := records{}
			first, second := opened(t, url, o), opened(t, url, o)
			for _, d := range []*destinations.Destination{first, second, first} {
				if err := errors.Join(d.Claim(t.Context(), r, quiet), d.Confirm(t.Context()), d.Check(t.Context())); err != nil {
					t.Fatal(err)
				}
			}
			put(t, first, "acme/one.1.sql")
			for key, err := range second.Keys(t.Context()) {
				if key != "acme/one.1.sql" || err != nil {
					t.Errorf("lists %s, %v", key, err)
				}
			}
			// Another ledger, for instance a new one, accepts the existing marker.
			other := records{}
			if err := second.Claim(t.Context(), other, quiet); err != nil || len(other) != 1 {
				t.Errorf("another ledger: %v, %v", other, err)
			}
			// Another storage at the same address.
			for place := range r {
				r[place] = []string{"anotherstorageanother", ""}
			}
			f := first.Claim(t.Context(), r, quiet)
			if !errors.Is(f, storage.ErrOtherStorage) || !errors.Is(f, storage.ErrRefused) || !strings.Contains(f.Error(), "folders of their own") {
				t.Errorf("another one: %v", f)
			}
			if err := first.Confirm(t.Context()); !errors.Is(err, storage.ErrOtherStorage) {
				t.Errorf("confirm another one: %v", err)
			}
			if _, err := first.Adopt(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(first.Claim(t.Context(), r, quiet), first.Confirm(t.Context())); err != nil {
				t.Errorf("after adopting it: %v", err)
			}
		})
	}
}

// Two workers each have a volume under one address.
func TestPrivateFoldersUnderOneAddressAreDistinguished(t *testing.T) {
	t.Parallel()
	shared := filepath.Join(t.TempDir(), "exports")
	r := records{}
	d := opened(t, "file://"+shared, destinations.Options{})
	if err := d.Claim(t.Context(), r, quiet); err != nil {
		t.Fatal(err)
	}
	put(t, d, "acme/one.1.sql")
	r["file"] = []string{"acme/one.1.sql"}
	if err := os.Rename(shared, shared+".of-the-first"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	second := opened(t, "file://"+shared, destinations.Options{})
	if err := second.Claim(t.Context(), r, quiet); !errors.Is(err, storage.ErrNotMarked) {
		t.Errorf("an empty one: %v", err)
	}
	if err := second.Claim(t.Context(), records{}, quiet); err != nil { // by another installation
		t.Fatal(err)
	}
	if err := second.Claim(t.Context(), r, quiet); !errors.Is(err, storage.ErrOtherStorage) {
		t.Errorf("a marked one: %v", err)
	}
}

// Exports from before the markers existed, and a marker that was lost.
func TestAStorageWithoutAMarker(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		known    bool
		recorded []string
		stored   []string
		want     error
	}{
		"new":                     {},
		"from before":             {recorded: []string{"a/1.1.sql", "a/2.1.sql"}, stored: []string{"a/1.1.sql", "a/2.1.sql"}},
		"from before, partly":     {recorded: []string{"a/1.1.sql", "a/2.1.sql"}, stored: []string{"a/1.1.sql"}},
		"from before, all absent": {recorded: []string{"a/1.1.sql", "a/2.1.sql"}, want: storage.ErrNotMarked},
		"a copy without it":       {known: true, recorded: []string{"a/1.1.sql", "a/2.1.sql"}, stored: []string{"a/1.1.sql", "a/2.1.sql"}},
		"half of it":              {known: true, recorded: []string{"a/1.1.sql", "a/2.1.sql"}, stored: []string{"a/1.1.sql"}, want: storage.ErrNotMarked},
		"empty":                   {known: true, want: storage.ErrNotMarked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := records{"file": c.recorded}
			if c.known {
				r["file://"+dir] = []string{"thestoragethestorage", ""}
			}
			d := opened(t, "file://"+dir, destinations.Options{})
			for _, key := range c.stored {
				put(t, d, key)
			}
			err := d.Claim(t.Context(), r, quiet)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("claim: %v", err)
			}
			_, err = os.Stat(filepath.Join(dir, storage.MarkerName))
			if (err == nil) != (c.want == nil) {
				t.Errorf("its marker: %v", err)
			}
			if c.known && c.want == nil {
				if s, _, err := d.Look(t.Context(), r); err != nil || s.Marker.Storage != "thestoragethestorage" {
					t.Errorf("marked again as %+v, %v", s, err)
				}
			}
		})
	}
}

// The rules of a bucket may delete the marker with everything else; a bucket is never unmounted.
func TestABucketIsMarkedAgain(t *testing.T) {
	t.Parallel()
	r := records{"s3": {"a/1.1.sql"}}
	url := bucketURL(t)
	place := ""
	d := opened(t, url, destinations.Options{S3: credentials.NewStaticV4("k", "s", "")})
	if err := d.Claim(t.Context(), r, quiet); err != nil {
		t.Fatal(err)
	}
	for p := range r {
		if p != "s3" {
			place = p
		}
	}
	r[place] = []string{"thestoragethestorage", ""}
	other := opened(t, strings.Replace(url, "/prefix", "/emptied", 1), destinations.Options{S3: credentials.NewStaticV4("k", "s", "")})
	r[strings.Replace(place, "/prefix", "/emptied", 1)] = r[place]
	if err := errors.Join(other.Claim(t.Context(), r, quiet), other.Confirm(t.Context())); err != nil {
		t.Error(err)
	}
}

// An empty place is no proof that the storage has lost its exports, although exports may go to an empty bucket.
func TestOnlyAMarkerShowsWhichStorageItIs(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{"file": "file://" + t.TempDir() + "/prefix", "s3": bucketURL(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := destinations.Options{S3: credentials.NewStaticV4("k", "s", "")}
			r := records{}
			d := opened(t, url, o)
			if d.Recognized(t.Context()) {
				t.Error("recognized before the ledger knows it")
			}
			if err := d.Claim(t.Context(), r, quiet); err != nil {
				t.Fatal(err)
			}
			if !d.Recognized(t.Context()) {
				t.Error("not recognized by its marker")
			}
			for place, known := range r {
				r[strings.Replace(place, "/prefix", "/emptied", 1)] = known
			}
			empty := opened(t, strings.Replace(url, "/prefix", "/emptied", 1), o)
			if err := empty.Bind(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if empty.Recognized(t.Context()) {
				t.Error("an empty place at its address is recognized")
			}
		})
	}
}

func TestReadingNeedsNoRightToWriteAndMakesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "nothing", "here")
	d := opened(t, "file://"+dir, destinations.Options{})
	for key, err := range d.Keys(t.Context()) {
		if !errors.Is(err, storage.ErrNotMarked) {
			t.Errorf("lists %q, %v", key, err)
		}
	}
	if _, _, err := d.Look(t.Context(), records{"file": {"a/1.1.sql"}}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
}

// bucketURL is the URL of a bucket on a server of the test's own.
func bucketURL(t *testing.T) string {
	t.Helper()
	store := s3mem.New()
	if err := store.CreateBucket("exports"); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(gofakes3.New(store).Server())
	t.Cleanup(s.Close)
	return "s3://exports/prefix?path_style=true&region=us-east-1&endpoint=" + s.URL
}
