package pgdump_test

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
)

// reader makes a login with the rights in grants, and returns its DSN.
func reader(t *testing.T, dsn, grants string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	login := "login_" + strings.Trim(u.Path, "/")
	execute(t, dsn, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'pw'", login))
	if grants != "" {
		execute(t, dsn, strings.ReplaceAll(grants, "$login", login))
	}
	u.User = url.UserPassword(login, "pw")
	return u.String()
}

const simple = `CREATE SCHEMA s; CREATE TABLE s.t AS SELECT generate_series(1, 3) a; CREATE SEQUENCE s.q;`

func TestOpenRefusals(t *testing.T) {
	t.Parallel()
	with := func(j export.DumpJob, change func(*url.URL)) export.DumpJob {
		u, err := url.Parse(j.Project.DSN.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		j.Project.DSN = export.Secret(u.String())
		return j
	}
	for name, c := range map[string]struct {
		job     func(t *testing.T) export.DumpJob
		code    codes.Code
		message string
	}{
		"missing schema": {func(t *testing.T) export.DumpJob {
			return job(database(t, cluster, simple), export.SQL, "s", "missing")
		}, codes.SchemaNotFound, `the source has no schema "missing"`},
		"wildcard is a name": {func(t *testing.T) export.DumpJob {
			return job(database(t, cluster, simple), export.SQL, "s*")
		}, codes.SchemaNotFound, `the source has no schema "s*"`},
		"hostile name": {func(t *testing.T) export.DumpJob {
			return job(database(t, cluster, simple), export.SQL, "a\x1b[2J\u202e")
		}, codes.SchemaNotFound, `the source has no schema "a?[2J?"`},
		"too long a name": {func(t *testing.T) export.DumpJob {
			return job(cluster.URL("postgres"), export.SQL, strings.Repeat("n", 64))
		}, codes.SchemaNotFound, "a schema's name is not one PostgreSQL can have"},
		"name with NUL": {func(t *testing.T) export.DumpJob {
			return job(cluster.URL("postgres"), export.SQL, "a\x00b")
		}, codes.SchemaNotFound, "a schema's name is not one PostgreSQL can have"},
		"no schema": {func(t *testing.T) export.DumpJob {
			return job(cluster.URL("postgres"), export.SQL)
		}, codes.SchemaNotAllowed, "no schema is named"},
		"system schema": {func(t *testing.T) export.DumpJob {
			return job(cluster.URL("postgres"), export.SQL, "pg_catalog")
		}, codes.SchemaNotAllowed, `schema "pg_catalog" is the server's own`},
		"wrong password": {func(t *testing.T) export.DumpJob {
			return with(job(cluster.URL("postgres"), export.SQL, "s"), func(u *url.URL) { u.User = url.UserPassword("postgres", "wrong") })
		}, codes.SourceAuthFailed, "the source refuses the login"},
		"unknown login": {func(t *testing.T) export.DumpJob {
			return with(job(cluster.URL("postgres"), export.SQL, "s"), func(u *url.URL) { u.User = url.UserPassword("nobody", "x") })
		}, codes.SourceAuthFailed, "the source refuses the login"},
		"unknown database": {func(t *testing.T) export.DumpJob {
			return job(cluster.URL("none"), export.SQL, "s")
		}, codes.SourceNotFound, "the source database does not exist"},
		"no connections": {func(t *testing.T) export.DumpJob {
			dsn := database(t, cluster, simple)
			u, err := url.Parse(dsn)
			if err != nil {
				t.Fatal(err)
			}
			execute(t, cluster.URL("postgres"), "ALTER DATABASE "+strings.Trim(u.Path, "/")+" ALLOW_CONNECTIONS false")
			return job(dsn, export.SQL, "s")
		}, codes.SourceForbidden, "the source database takes no connections (ALLOW_CONNECTIONS is false)"},
		"connection refused": {func(t *testing.T) export.DumpJob {
			return with(job(cluster.URL("postgres"), export.SQL, "s"), func(u *url.URL) { u.Host = "127.0.0.1:1" })
		}, codes.SourceUnavailable, "the source cannot be reached"},
		"broken address": {func(t *testing.T) export.DumpJob {
			return job("postgres://u@h:99999/d", export.SQL, "s")
		}, codes.SourceNotFound, "the source's address cannot be used"},
		"no address": {func(t *testing.T) export.DumpJob {
			return job("", export.SQL, "s")
		}, codes.SourceNotFound, "the source's address cannot be used"},
		"standby wanted": {func(t *testing.T) export.DumpJob {
			return with(job(cluster.URL("postgres"), export.SQL, "s"), func(u *url.URL) { u.RawQuery += "&target_session_attrs=standby" })
		}, codes.SourceUnavailable, "the source cannot be reached"},
		"no right to use the schema": {func(t *testing.T) export.DumpJob {
			return job(reader(t, database(t, cluster, simple), ""), export.SQL, "s")
		}, codes.SourceForbidden, `no right to use schema "s"`},
		"no right to read": {func(t *testing.T) export.DumpJob {
			return job(reader(t, database(t, cluster, simple), "GRANT USAGE ON SCHEMA s TO $login"), export.SQL, "s")
		}, codes.SourceForbidden, `no right to read "s"."t", "s"."q"`},
		"no right to a sequence": {func(t *testing.T) export.DumpJob {
			return job(reader(t, database(t, cluster, simple),
				"GRANT USAGE ON SCHEMA s TO $login; GRANT SELECT ON s.t TO $login"), export.SQL, "s")
		}, codes.SourceForbidden, `no right to read "s"."q"`},
		"row-level security": {func(t *testing.T) export.DumpJob {
			return job(reader(t, database(t, cluster, simple+"ALTER TABLE s.t ENABLE ROW LEVEL SECURITY"),
				"GRANT USAGE ON SCHEMA s TO $login; GRANT SELECT ON ALL TABLES IN SCHEMA s TO $login;"+
					"GRANT SELECT ON s.q TO $login"), export.SQL, "s")
		}, codes.RowLevelSecurity, `row-level security would hide rows of "s"."t"`},
		"unknown role": {func(t *testing.T) export.DumpJob {
			j := job(database(t, cluster, simple), export.SQL, "s")
			j.Project.Role = "nobody at all"
			return j
		}, codes.SourceForbidden, "the project's role cannot be taken by the login"},
		"foreign role": {func(t *testing.T) export.DumpJob {
			j := job(reader(t, database(t, cluster, simple), ""), export.SQL, "s")
			j.Project.Role = "postgres"
			return j
		}, codes.SourceForbidden, "the project's role cannot be taken by the login"},
		"no role by name": {func(t *testing.T) export.DumpJob {
			j := job(database(t, cluster, simple), export.SQL, "s")
			j.Project.Role = "none"
			return j
		}, codes.SourceForbidden, "the project's role cannot be none"},
		"row-level security for the role": {func(t *testing.T) export.DumpJob {
			dsn := reader(t, database(t, cluster, simple+"ALTER TABLE s.t ENABLE ROW LEVEL SECURITY"), `
				CREATE ROLE $login_role; GRANT $login_role TO $login; GRANT USAGE ON SCHEMA s TO $login_role;
				GRANT SELECT ON s.t, s.q TO $login_role; CREATE POLICY mine ON s.t TO $login_role USING (a = 1)`)
			u, err := url.Parse(dsn)
			if err != nil {
				t.Fatal(err)
			}
			j := job(dsn, export.SQL, "s")
			j.Project.Role = u.User.Username() + "_role"
			return j
		}, codes.RowLevelSecurity, `row-level security would hide rows of "s"."t"`},
		"wrong format": {func(t *testing.T) export.DumpJob {
			return job(database(t, cluster, simple), "folder", "s")
		}, codes.InternalError, "pg_dump's arguments could not be built"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := c.job(t)
			dump, err := dumper(t, pgdump.Config{}).Open(t.Context(), j)
			if err == nil {
				_ = dump.Close()
			}
			f := fault(t, err, c.code)
			if f.Message != c.message {
				t.Errorf("message = %q, want %q", f.Message, c.message)
			}
		})
	}
}

func TestTarNeedsAFolderThatCanBeWritten(t *testing.T) {
	t.Parallel()
	if err := pgdump.CheckTar(); err != nil {
		t.Error(err)
	}
	for _, folder := range []string{"/proc", filepath.Join(t.TempDir(), "none")} {
		f := fault(t, pgdump.CheckTarIn(folder), codes.FormatUnavailable)
		contains(t, "message", f.Message, "needs a folder "+folder+" that the worker may write to")
	}
}
