package archive_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// inspected is a Checker as a seal.Stream uses it.
type inspected struct{ *archive.Checker }

func (i inspected) Finish() error {
	_, err := i.Checker.Finish()
	return err
}

func sealed(t *testing.T, dump []byte, f export.Format, o seal.Options) ([]byte, error) {
	t.Helper()
	c, err := archive.NewChecker(f)
	if err != nil {
		t.Fatal(err)
	}
	o.Inspector = inspected{c}
	s, err := seal.New(bytes.NewReader(dump), o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(s)
	return b, errors.Join(err, s.Close())
}

func unseal(b []byte, f export.Format, c seal.Compression, ids []age.Identity) error {
	r, err := seal.Open(bytes.NewReader(b), c, ids)
	if err != nil {
		return err
	}
	_, err = archive.Check(r, f)
	return errors.Join(err, r.Close())
}

func TestEachCutOfAnArtifactIsNoticed(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, f export.Format, o seal.Options, ids []age.Identity) {
		small, err := sealed(t, dumped.tiny[f], f, o)
		if err != nil {
			t.Fatal(err)
		}
		for cut := range small {
			if cut > 400 && cut < len(small)-200 && cut%7 != 0 { // within encoded data
				continue
			}
			if unseal(small[:cut], f, o.Compression, ids) == nil {
				t.Fatalf("small, cut at %d of %d: not noticed", cut, len(small))
			}
		}
		large, err := sealed(t, dumped.large[f], f, o)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(5, 6))
		for i := range 15 {
			cut := rng.IntN(len(large))
			if i < 5 {
				cut = len(large) - 1 - i*4
			}
			if unseal(large[:cut], f, o.Compression, ids) == nil {
				t.Fatalf("large, cut at %d of %d: not noticed", cut, len(large))
			}
		}
	})
}

func TestASealedPartOfARefusedDumpIsNotWhole(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, f export.Format, o seal.Options, ids []age.Identity) {
		dump := dumped.rich[f]
		if b, err := sealed(t, dump, f, o); err != nil || unseal(b, f, o.Compression, ids) != nil {
			t.Errorf("a whole dump is refused: %v, %v", err, unseal(b, f, o.Compression, ids))
		}
		for _, cut := range []int{0, 1, len(dump) / 2, len(dump) - 1} {
			b, err := sealed(t, dump[:cut], f, o)
			if !wantStructureError(t, err, "cut at %d of %d", cut, len(dump)) {
				continue
			}
			if unseal(b, f, o.Compression, ids) == nil {
				t.Errorf("cut at %d of %d: the rest decodes as a whole dump", cut, len(dump))
			}
		}
	})
}

// variants calls test for each format, compression and encryption.
func variants(t *testing.T, test func(t *testing.T, f export.Format, o seal.Options, ids []age.Identity)) {
	t.Helper()
	for _, f := range formats {
		for _, c := range []seal.Compression{seal.Gzip, seal.Zstd, seal.Plain} {
			for _, encrypted := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/encrypted=%t", f, c, encrypted), func(t *testing.T) {
					t.Parallel()
					o := seal.Options{Compression: c}
					var ids []age.Identity
					if encrypted {
						id, err := age.GenerateX25519Identity()
						if err != nil {
							t.Fatal(err)
						}
						o.Recipients, ids = []age.Recipient{id.Recipient()}, []age.Identity{id}
					}
					test(t, f, o, ids)
				})
			}
		}
	}
}
