package archive_test

import (
	"bytes"
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// pieces reads pieces of the given sizes, over and over.
type pieces struct {
	chunks
	sizes []int
	next  int
}

func (p *pieces) Read(b []byte) (int, error) {
	p.size = p.sizes[p.next%len(p.sizes)]
	p.next++
	return p.chunks.Read(b)
}

// sameInPieces checks that the result does not depend on the pieces of a dump, including the error
// of a broken one.
func sameInPieces(t interface{ Fatalf(string, ...any) }, f export.Format, dump []byte, sizes []int) {
	want, wantErr := archive.Check(bytes.NewReader(dump), f)
	got, err := archive.Check(&pieces{chunks: chunks{b: dump}, sizes: sizes}, f)
	if fmt.Sprint(err) != fmt.Sprint(wantErr) {
		t.Fatalf("in pieces %v: error %v, at once %v", sizes, err, wantErr)
	}
	if !maps.Equal(got.Tables, want.Tables) {
		t.Fatalf("in pieces %v: %v, at once %v", sizes, got.Tables, want.Tables)
	}
}

func TestPiecesDoNotMatter(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			sameInPieces(t, f, dumped.rich[f], []int{1})
			rapid.Check(t, func(t *rapid.T) {
				dump := dumped.rich[f]
				if rapid.Bool().Draw(t, "damaged") {
					at := rapid.IntRange(0, len(dump)-1).Draw(t, "at")
					dump = bytes.Clone(dump)
					dump[at] = rapid.SampledFrom([]byte("\x00\n\\'\";$-/*(). aA1\xff")).Draw(t, "byte")
				}
				sizes := rapid.SliceOfN(rapid.IntRange(1, 3000), 1, 8).Draw(t, "sizes")
				sameInPieces(t, f, dump, sizes)
			})
		})
	}
}

// fuzz checks any input: no panic, and a result that does not depend on the pieces.
func fuzz(f *testing.F, format export.Format) {
	f.Add(dumped.tiny[format])
	f.Fuzz(func(t *testing.T, dump []byte) {
		sameInPieces(t, format, dump, []int{1})
		sameInPieces(t, format, dump, []int{7, 2, 64})
		if check(dump, format) == nil && format == export.Custom && check(dump[:len(dump)-1], format) == nil {
			t.Error("a custom archive is whole with and without its last byte")
		}
	})
}

func FuzzSQL(f *testing.F)       { fuzz(f, export.SQL) }
func FuzzTar(f *testing.F)       { fuzz(f, export.Tar) }
func FuzzCustom(f *testing.F)    { fuzz(f, export.Custom) }
func FuzzDirectory(f *testing.F) { fuzz(f, export.Directory) }
