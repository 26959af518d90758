package storage_test

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// For all sizes of parts, stream and reads the bytes are returned unchanged, in parts that are full
// except the last.
func TestPartsOfAnySize(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.Int64Range(1, 40).Draw(t, "part")
		data := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "data")
		var src io.Reader = bytes.NewReader(data)
		if rapid.Bool().Draw(t, "byte by byte") {
			src = iotest.OneByteReader(src)
		}
		if rapid.Bool().Draw(t, "io.EOF with the last bytes") {
			src = iotest.DataErrReader(src)
		}
		r, err := storage.New(storage.Config{Driver: storagetest.NewMemory(part), Journal: &storage.MemoryJournal{}})
		if err != nil {
			t.Fatal(err)
		}
		const key = "acme/r.1.sql"
		if _, err := r.Put(t.Context(), key, src, storagetest.Describe(key, data)); err != nil {
			t.Fatal(err)
		}
		doc, err := r.Manifest(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if want := (len(data) + int(part) - 1) / int(part); len(doc.Parts) != want {
			t.Fatalf("%d parts, want %d", len(doc.Parts), want)
		}
		body, err := r.Open(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(iotest.OneByteReader(body))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes of %d, or others; %v", len(got), len(data), err)
		}
		if err := body.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
