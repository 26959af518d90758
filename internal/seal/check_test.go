package seal_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/pgcourier/pgcourier/internal/seal"
)

func TestContentsAreWhatTheServerCounts(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			c, err := seal.Check(bytes.NewReader(dumped.rich[f]), f)
			if err != nil {
				t.Fatal(err)
			}
			sameRows(t, c, dumped.rows)
			c, err = seal.Check(bytes.NewReader(dumped.large[f]), f)
			if err != nil {
				t.Fatal(err)
			}
			sameRows(t, c, dumped.sizes)
			if c.Rows() != 35000 {
				t.Errorf("%d rows in all, want 35000", c.Rows())
			}
		})
	}
}

func check(b []byte, f seal.Format) error {
	_, err := seal.Check(bytes.NewReader(b), f)
	return err
}

func wantStructureError(t *testing.T, err error, what string, args ...any) bool {
	t.Helper()
	if _, ok := errors.AsType[*seal.StructureError](err); !ok {
		t.Errorf(what+": error %v, want a StructureError", append(args, err)...)
		return false
	}
	return true
}
