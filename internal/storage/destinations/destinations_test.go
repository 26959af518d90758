package destinations_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

func TestAListIsReadInOrderWithANameForEach(t *testing.T) {
	t.Parallel()
	got, err := destinations.Parse([]string{"file:///a", "s3://b/c?required=true", "file:///d", "telegram://-1?required=false"})
	want := []destinations.Location{
		{URL: "file:///a", Name: "file"}, {URL: "s3://b/c", Name: "s3"}, {URL: "file:///d", Name: "file-2", Optional: true}, {URL: "telegram://-1", Name: "telegram", Optional: true},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAnInvalidListIsAFaultOfTheConfiguration(t *testing.T) {
	t.Parallel()
	for name, list := range map[string][]string{
		"twice":             {"file:///a", "file:///a"},
		"no URL":            {"file:///a", "://"},
		"primary optional":  {"file:///a?required=false"},
		"required unclear":  {"file:///a", "file:///b?required=maybe"},
		"unknown scheme":    {"ftp://a"},
		"two slashes":       {"file://a/b"},
		"no token":          {"telegram://-1"},
		"an unusable place": {"file:///dev/null/a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := destinations.Open(list, destinations.Options{Log: slog.New(slog.DiscardHandler)})
			_, setting := errors.AsType[*config.Error](err)
			if !setting && !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestKeysOfTheExporterAreRead(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]export.ID{
		"acme/nightly.2.sql.gz":       {Project: "acme", Request: "nightly"},
		"acme/a/label/nightly.1.dump": {Project: "acme", Request: "nightly"},
		"nightly.1.sql":               {},
		"acme/nightly.sql":            {},
		"acme/nightly.0.sql":          {},
		"acme/nightly.1.sql.gz.age":   {Project: "acme", Request: "nightly"},
	} {
		got, _, ok := destinations.ParseKey(key)
		if ok != (want != export.ID{}) || ok && got != want {
			t.Errorf("%s: %v, %t", key, got, ok)
		}
	}
}

// put stores a small export.
func put(t *testing.T, d *destinations.Destination, key string) {
	t.Helper()
	if _, err := d.Put(t.Context(), key, strings.NewReader("x"), storagetest.Describe(key, []byte("x"))); err != nil {
		t.Fatal(err)
	}
}

func TestAnIDMeansTheLastAttemptOfOneExport(t *testing.T) {
	t.Parallel()
	set, err := destinations.Open([]string{"file://" + t.TempDir(), "file://" + t.TempDir()}, destinations.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = set.Close() }()
	put(t, set[0], "acme/nightly.1.sql")
	put(t, set[0], "acme/nightly.2.sql")
	put(t, set[1], "acme/nightly.2.sql")
	r := destinations.NewReader(set, nil)
	copies, unread, err := r.Find(t.Context(), "nightly")
	if err != nil || unread != nil || len(copies) != 2 || copies[0].Key != "acme/nightly.2.sql" || copies[1].Destination.Name != "file-2" {
		t.Fatalf("found %+v, %v, %v", copies, unread, err)
	}
	if doc, err := copies[1].Manifest(t.Context()); err != nil || doc.Key != "acme/nightly.2.sql" {
		t.Errorf("its manifest is %+v, %v", doc, err)
	}
	if _, _, err := r.Find(t.Context(), "weekly"); !errors.Is(err, destinations.ErrNoExport) {
		t.Errorf("one that is not stored: %v", err)
	}
	put(t, set[1], "bolt/nightly.1.sql")
	_, _, err = r.Find(t.Context(), "nightly")
	if many, ok := errors.AsType[*destinations.AmbiguousError](err); !ok || !slices.Equal(many.Exports, []string{"acme/nightly", "bolt/nightly"}) {
		t.Errorf("two of that name: %v", err)
	}
	if copies, _, err := r.Find(t.Context(), "bolt/nightly"); err != nil || len(copies) != 1 {
		t.Errorf("one of them: %+v, %v", copies, err)
	}
}

func TestOneStoreIsMadeOfAll(t *testing.T) {
	t.Parallel()
	set, err := destinations.Open([]string{"file://" + t.TempDir(), "file://" + t.TempDir()}, destinations.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if err := set.Check(t.Context(), records{}, log); err != nil {
		t.Fatal(err)
	}
	var around []string
	store, err := set.Store(destinations.StoreConfig{Budget: time.Minute, Log: log, Around: func(name string, next export.Store) export.Store {
		around = append(around, name)
		return next
	}})
	if err != nil || !slices.Equal(around, []string{"file", "file-2"}) {
		t.Fatalf("around %v, %v", around, err)
	}
	copies, err := store.Put(t.Context(), "acme/a.1.sql", strings.NewReader("x"), storagetest.Describe("acme/a.1.sql", []byte("x")))
	if err != nil || len(copies) != 2 {
		t.Fatalf("%d copies, %v", len(copies), err)
	}
	one, err := set.Only("file-2")
	if err != nil || len(one) != 1 {
		t.Fatal(one, err)
	}
	r, err := one[0].Open(context.Background(), "acme/a.1.sql")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close(), one.Close()); err != nil || string(b) != "x" {
		t.Errorf("read %q, %v", b, err)
	}
	if _, err := (destinations.Set{}).Only("s3"); err == nil {
		t.Error("an unknown name is accepted")
	}
}
