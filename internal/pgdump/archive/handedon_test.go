package archive_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

const guarded = "--\n-- PostgreSQL database dump\n--\n\n\\restrict key\n\nCREATE SCHEMA s;\n\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict key\n\n"

func TestReadableHandsOnWhatItHasChecked(t *testing.T) {
	t.Parallel()
	pass := func(r io.Reader) (string, error) {
		b, err := io.ReadAll(archive.Readable(r))
		return string(b), err
	}
	for name, r := range map[string]io.Reader{"at once": strings.NewReader(guarded), "byte by byte": iotest.OneByteReader(strings.NewReader(guarded)), "with its end": iotest.DataErrReader(strings.NewReader(guarded))} {
		if got, err := pass(r); err != nil || got != guarded {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	bad := strings.Replace(guarded, "CREATE", "\\! touch x\nCREATE", 1)
	for name, r := range map[string]io.Reader{"at once": strings.NewReader(bad), "byte by byte": iotest.OneByteReader(strings.NewReader(bad))} {
		got, err := pass(r)
		if _, structural := errors.AsType[*archive.StructureError](err); !structural || strings.Contains(got, "touch x\n") {
			t.Errorf("%s: a command is handed on: %q, %v", name, got, err)
		}
	}
	if _, err := pass(strings.NewReader(guarded[:len(guarded)-9])); err == nil {
		t.Error("a script that was cut short passes for whole")
	}
	boom := errors.New("boom")
	if _, err := pass(io.MultiReader(strings.NewReader(guarded[:20]), iotest.ErrReader(boom))); !errors.Is(err, boom) {
		t.Errorf("the reader's own error became %v", err)
	}
}
