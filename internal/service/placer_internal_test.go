package service

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/restore"
)

// A name with a dot stays apart from the schema's name.
func TestTablesOfTheContractStayDistinct(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		`acme.orders`:       `"acme"."orders"`,
		`"a.b".c`:           `"a.b"."c"`,
		`a."b.c"`:           `"a"."b.c"`,
		`"A b"."say ""x"""`: `"A b"."say ""x"""`,
	} {
		if got := tableOf(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// A restore is tried again if its tool did not answer in time.
func TestAToolThatDoesNotAnswerEndsNoRestore(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]codes.Code{
		fmt.Errorf("%w: no pg_dump", restore.ErrTool):                                                                    codes.VersionMismatch,
		fmt.Errorf("%w: no pg_dump: %w", restore.ErrTool, fmt.Errorf("pg_dump --version: %w in 10s", libpq.ErrNoAnswer)): codes.InternalError,
	} {
		f, ok := errors.AsType[*export.Fault](placeFault(t.Context(), err))
		if !ok || f.Code != want || f.Code.Permanent() != (want == codes.VersionMismatch) {
			t.Errorf("%v: %+v, want %s", err, f, want)
		}
	}
}
