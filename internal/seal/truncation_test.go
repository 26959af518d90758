package seal_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/seal"
)

func TestEachCutOfAnArtifactIsNoticed(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, o seal.Options, ids []age.Identity) {
		small, _, err := sealed(t, bytes.NewReader(tiny), o)
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
		large, _, err := sealed(t, bytes.NewReader(large), o)
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
