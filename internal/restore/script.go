package restore

import (
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/pgcourier/pgcourier/internal/export"
)

// wrongCount is the SQLSTATE of a table that holds other rows than the export. Its class is
// nobody's.
const wrongCount = "PGC01"

// settings hold for our own statements before the dump's; the dump has its own. The names in
// them are UTF-8, whatever the locale says.
const settings = "SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\nSET client_min_messages = warning;\n"

// begin opens the transaction and makes room.
func begin(w io.Writer, prelude []string) error {
	_, err := io.WriteString(w, settings+"BEGIN;\nSET LOCAL search_path = pg_catalog;\n"+strings.Join(prelude, "\n")+"\n")
	return err
}

// commit counts every table in the same transaction and ends it. A table that holds other
// rows than the export raises an error, and psql stops before COMMIT.
func commit(w io.Writer, want export.Contents) error {
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	if err := counts(w, want); err != nil {
		return err
	}
	_, err := io.WriteString(w, "COMMIT;\n")
	return err
}

// counts holds every table against the export: a difference is an error, wrongCount.
func counts(w io.Writer, want export.Contents) error {
	tag := "$c" + strings.ToLower(rand.Text()) + "$" // no table's name holds it
	if _, err := io.WriteString(w, "SET standard_conforming_strings = on;\n"); err != nil {
		return err
	}
	tables := slices.SortedFunc(maps.Keys(want.Tables), compareTables)
	for _, t := range tables {
		quoted := identifier(t)
		// Where row-level security is forced upon the owner too, nobody but a superuser can
		// count: row_security is off in a dump, so that is an error and never a wrong count.
		_, err := fmt.Fprintf(w, `DO %[1]s DECLARE n bigint; BEGIN
  SELECT pg_catalog.count(*) INTO n FROM ONLY %[2]s;
  IF n <> %[3]d THEN
    RAISE EXCEPTION USING ERRCODE = '`+wrongCount+`', MESSAGE = pg_catalog.format('pgcourier: %%s holds %%s rows, the export %%s', '%[4]s', n, %[3]d);
  END IF;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END %[1]s;
`, tag, quoted, want.Tables[t], strings.ReplaceAll(quoted, "'", "''"))
		if err != nil {
			return err
		}
	}
	return nil
}

func compareTables(a, b export.Table) int {
	if c := strings.Compare(a.Schema, b.Schema); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}
