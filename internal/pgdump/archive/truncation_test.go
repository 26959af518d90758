package archive_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
)

// boundaries lists the offsets around which a dump's structure changes.
func boundaries(f export.Format, dump []byte) []int {
	var at []int
	around := func(off int) {
		for d := -9; d <= 9; d++ {
			if off+d >= 0 && off+d < len(dump) {
				at = append(at, off+d)
			}
		}
	}
	for off := 0; ; {
		i := bytes.Index(dump[off:], []byte("\n\\.\n"))
		if i < 0 {
			break
		}
		off += i + 1
		around(off)
	}
	switch f {
	case export.SQL:
		for off, b := range dump {
			if b == ';' {
				at = append(at, off, min(off+1, len(dump)-1))
			}
		}
	case export.Tar, export.Directory:
		for off := 0; off < len(dump); off += 512 {
			at = append(at, off, off+1, off+511)
		}
	default:
	}
	around(len(dump) - 1)
	return at
}

func TestEachCutIsNoticed(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			tiny, large := dumped.tiny[f], dumped.large[f]
			for cut := range tiny {
				if !wantStructureError(t, check(tiny[:cut], f), "tiny, cut at %d of %d", cut, len(tiny)) {
					return
				}
			}
			cuts := boundaries(f, large)
			if len(cuts) > 3000 { // the relevant ones of the tar's many blocks
				rand.New(rand.NewPCG(1, 2)).Shuffle(len(cuts), func(i, j int) { cuts[i], cuts[j] = cuts[j], cuts[i] })
				cuts = cuts[:3000]
			}
			rng := rand.New(rand.NewPCG(3, 4))
			for range 1000 {
				cuts = append(cuts, rng.IntN(len(large)))
			}
			for _, cut := range cuts {
				if !wantStructureError(t, check(large[:cut], f), "large, cut at %d of %d", cut, len(large)) {
					return
				}
			}
		})
	}
}
