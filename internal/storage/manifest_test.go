package storage_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// seedFile reads a committed fuzz seed.
func seedFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "fuzz", "FuzzDecodeDocument", name))
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(b), "\n")
	text, err := strconv.Unquote(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "[]byte("), ")"))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(text)
}

// A manifest on disk stays readable: this one was written once and is only read since.
func TestManifestOfOldStaysReadable(t *testing.T) {
	t.Parallel()
	whole := seedFile(t, "whole")
	doc, err := storage.DecodeDocument(whole)
	if err != nil {
		t.Fatal(err)
	}
	if doc.Key != "acme/r.1.sql" || doc.Bytes != 1 || doc.Manifest.Project != "acme" || doc.Manifest.Artifact.Rows != 9 {
		t.Errorf("read %+v", doc)
	}
	// A description with a field that this version does not know.
	if _, err := storage.DecodeDocument(seedFile(t, "later-field")); err != nil {
		t.Errorf("a field added later: %v", err)
	}
	for what, b := range map[string][]byte{
		"cut": seedFile(t, "cut"), "flipped": seedFile(t, "flipped"), "twice": seedFile(t, "twice"),
		"unknown field outside": bytes.Replace(whole, []byte(`"bytes"`), []byte(`"more": 1, "bytes"`), 1),
		"no check":              bytes.Replace(whole, []byte(`"check"`), []byte(`"Check2"`), 1),
	} {
		if _, err := storage.DecodeDocument(b); !errors.Is(err, storage.ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
