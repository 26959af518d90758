package pgdump_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
)

// Inspect finds the faults that Open would find, and neither waits for a lock nor holds one.
func TestInspect(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, simple)
	locker := connect(t, dsn)
	if _, err := locker.Exec(t.Context(), "BEGIN; LOCK TABLE s.t IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	d := dumper(t, pgdump.Config{LockWaitTimeout: time.Second, Stall: 10 * time.Second})
	info, err := d.Inspect(t.Context(), job(dsn, export.SQL, "s"))
	if err != nil || info.ServerVersion == "" || info.PgDumpVersion == "" {
		t.Errorf("%+v, %v", info, err)
	}
	poor := reader(t, dsn, "GRANT USAGE ON SCHEMA s TO $login")
	strange := job(dsn, export.SQL, "s")
	strange.Project.Role = "pg_monitor_not_there"
	for name, c := range map[string]struct {
		job  export.DumpJob
		code codes.Code
	}{
		"no right to a table":  {job(poor, export.SQL, "s"), codes.SourceForbidden},
		"a schema that is not": {job(dsn, export.SQL, "missing"), codes.SchemaNotFound},
		"no schema":            {job(dsn, export.SQL), codes.SchemaNotAllowed},
		"a role that is not":   {strange, codes.SourceForbidden},
		"a wrong password":     {job(strings.Replace(poor, ":pw@", ":canary@", 1), export.SQL, "s"), codes.SourceAuthFailed},
		"a broken DSN":         {job("nonsense", export.SQL, "s"), codes.SourceNotFound},
	} {
		_, err := d.Inspect(t.Context(), c.job)
		f, ok := errors.AsType[*export.Fault](err)
		if !ok || f.Code != c.code || strings.Contains(f.Error(), "canary") {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}

// doctor says which tables only a COPY can count.
func TestInspectNamesTablesThatCannotBePlanned(t *testing.T) {
	t.Parallel()
	dsn := database(t, cluster, simple+`
CREATE FUNCTION s.helper(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION s.look(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE INDEX ON s.t (s.look(a)); -- 17 refuses an index on the function that follows
SET search_path = s; CREATE OR REPLACE FUNCTION s.look(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT helper($1)'`)
	info, err := dumper(t, pgdump.Config{}).Inspect(t.Context(), job(dsn, export.SQL, "s"))
	if err != nil {
		t.Fatal(err)
	}
	contains(t, "warnings", strings.Join(info.Warnings, "; "), `rows are counted by COPY, which takes longer, because to plan a query of these tables would call functions of their indexes or statistics: "s"."t"`)
}
