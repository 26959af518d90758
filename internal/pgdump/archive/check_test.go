package archive_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

func TestContentsAreWhatTheServerCounts(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			c, err := archive.Check(bytes.NewReader(dumped.rich[f]), f)
			if err != nil {
				t.Fatal(err)
			}
			sameRows(t, c, dumped.rows)
			c, err = archive.Check(bytes.NewReader(dumped.large[f]), f)
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

func check(b []byte, f export.Format) error {
	_, err := archive.Check(bytes.NewReader(b), f)
	return err
}

func wantStructureError(t *testing.T, err error, what string, args ...any) bool {
	t.Helper()
	if _, ok := errors.AsType[*archive.StructureError](err); !ok {
		t.Errorf(what+": error %v, want a StructureError", append(args, err)...)
		return false
	}
	return true
}

func TestTheTableOfTheRowsIsNamed(t *testing.T) {
	t.Parallel()
	dump := dumped.large[export.SQL]
	c, err := archive.NewChecker(export.SQL)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(dump, []byte("COPY l.short"))
	for _, step := range []struct {
		piece []byte
		table export.Table
	}{
		{dump[:at], export.Table{}}, {dump[at : at+1000], export.Table{Schema: "l", Name: "short"}}, {dump[at+1000:], export.Table{}},
	} {
		if _, err := c.Write(step.piece); err != nil {
			t.Fatal(err)
		}
		if got := c.Table(); got != step.table {
			t.Errorf("table %+v, want %+v", got, step.table)
		}
	}
}

func TestASourceThatReturnsNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		if _, err := archive.Check(silent{}, f); !errors.Is(err, io.ErrNoProgress) {
			t.Errorf("%s: error %v, want %v", f, err, io.ErrNoProgress)
		}
	}
	if _, err := archive.NewChecker("folder"); err == nil {
		t.Error("an unknown format is accepted")
	}
}

// silent returns neither bytes nor an error.
type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }
