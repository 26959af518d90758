package seal_test

import (
	"bytes"
	"testing"

	"github.com/pgcourier/pgcourier/internal/seal"
)

// FuzzOpen checks that no input makes a decoder panic, run without a limit or end without an error.
func FuzzOpen(f *testing.F) {
	for _, c := range compressions {
		b, _, err := sealed(f, bytes.NewReader(tiny), seal.Options{Compression: c})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, artifact []byte) {
		for _, c := range []seal.Compression{seal.Gzip, seal.Zstd} {
			o := seal.Options{Compression: c}
			if _, err := unseal(artifact, o); err == nil {
				if _, err := unseal(artifact[:len(artifact)-1], o); err == nil {
					t.Errorf("%s: whole with and without its last byte", c)
				}
			}
		}
	})
}
