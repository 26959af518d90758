package archive_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

const ended = "\n--\n-- PostgreSQL database dump complete\n--\n\n"

// unreadable are statements that psql does not read to their end, and the expected results.
var unreadable = map[string]struct{ statement, routine, readable string }{
	"the routine's own name": {
		"CREATE FUNCTION s.begin() RETURNS int AS $$ begin $$;", "function s.begin", "CREATE FUNCTION s.\"begin\"() RETURNS int AS $$ begin $$;",
	},
	"a column in its body": {
		"CREATE OR REPLACE PROCEDURE \"S \x1b\".p()\nBEGIN ATOMIC SELECT begin, 'begin' AS \"begin\" FROM t AS begin; END;", `procedure "S ?".p`,
		"CREATE OR REPLACE PROCEDURE \"S \x1b\".p()\nBEGIN ATOMIC SELECT \"begin\", 'begin' AS \"begin\" FROM t AS \"begin\"; END;",
	},
	"what it returns": {
		"CREATE FUNCTION f(begin int) RETURNS int RETURN begin;", "function f", "CREATE FUNCTION f(\"begin\" int) RETURNS int RETURN \"begin\";",
	},
}

func TestARoutineThatPsqlCannotReadIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range unreadable {
		_, err := archive.Check(strings.NewReader(c.statement+"\n\n\n"+ended), export.SQL)
		if u, ok := errors.AsType[*export.UnreadableError](err); !ok || u.Object != c.routine {
			t.Errorf("%s: %v, want %s", name, err, c.routine)
		}
	}
}

func TestReadableQuotesNamesForPsql(t *testing.T) {
	t.Parallel()
	const other = "\n\n--\n-- begin\n--\n\nCREATE TABLE t (begin int);\nCOPY t FROM stdin;\nbegin\n\\.\n" + ended
	for name, c := range unreadable {
		for _, r := range []io.Reader{strings.NewReader(c.statement + other), iotest.OneByteReader(strings.NewReader(c.statement + other))} {
			got, err := io.ReadAll(archive.Readable(r))
			if want := c.readable + other; err != nil || string(got) != want {
				t.Errorf("%s: %q, %v; want %q", name, got, err, want)
			}
			if _, err := archive.Check(strings.NewReader(string(got)), export.SQL); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for name, script := range map[string]string{"cut": guarded[:len(guarded)-1], "a command": "\\! true\n" + ended, "a name that is cut": "SELECT begin"} {
		if got, err := io.ReadAll(archive.Readable(strings.NewReader(script))); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}
