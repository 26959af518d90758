package seal_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/seal"
)

// boundaries lists the offsets around which a dump's structure changes.
func boundaries(f seal.Format, dump []byte) []int {
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
	case seal.SQL:
		for off, b := range dump {
			if b == ';' {
				at = append(at, off, min(off+1, len(dump)-1))
			}
		}
	case seal.Tar, seal.Directory:
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
			if len(cuts) > 3000 { // all that matter of the tar's many blocks
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

func TestEachCutOfAnArtifactIsNoticed(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, o seal.Options, ids []age.Identity) {
		small, _, err := sealed(t, bytes.NewReader(dumped.tiny[o.Format]), o)
		if err != nil {
			t.Fatal(err)
		}
		for cut := range small {
			if cut > 400 && cut < len(small)-200 && cut%7 != 0 { // within encoded data
				continue
			}
			if _, err := unseal(small[:cut], o, ids...); err == nil {
				t.Fatalf("small, cut at %d of %d: not noticed", cut, len(small))
			}
		}
		large, _, err := sealed(t, bytes.NewReader(dumped.large[o.Format]), o)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(5, 6))
		for i := range 15 {
			cut := rng.IntN(len(large))
			if i < 5 {
				cut = len(large) - 1 - i*4
			}
			if _, err := unseal(large[:cut], o, ids...); err == nil {
				t.Fatalf("large, cut at %d of %d: not noticed", cut, len(large))
			}
		}
	})
}
