package pgdump_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/pgbouncer"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// pooled starts a pooler in front of the cluster, and returns the DSN of a database behind it.
func pooled(t *testing.T, dsn, mode string, settings map[string]string) string {
	t.Helper()
	p, err := pgbouncer.Start(t.Context(), pgbouncer.Config{Server: dsn, Mode: mode, Settings: settings})
	if errors.Is(err, pgbouncer.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return p.URL(strings.Trim(u.Path, "/"))
}

var ignored = map[string]string{"ignore_startup_parameters": "options"}

func TestADumpThroughAPoolerInSessionMode(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string]map[string]string{"as it comes": nil, "options are ignored": ignored} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := database(t, cluster, simple)
			for _, f := range []export.Format{export.SQL, export.Custom} {
				dump := open(t, pgdump.Config{}, job(pooled(t, dsn, "session", settings), f, "s"))
				contents, err := archive.Check(dump, f)
				if err != nil || contents.Rows() != 3 {
					t.Fatalf("%v, %v", contents, err)
				}
				rows, err := dump.Rows(t.Context())
				if err != nil || rows[export.Table{Schema: "s", Name: "t"}] != 3 {
					t.Errorf("%v, %v", rows, err)
				}
				contains(t, "warnings", strings.Join(dump.Info().Warnings, "; "), "through a pooler")
				if err := dump.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestAGroupThroughAPoolerInSessionMode(t *testing.T) {
	t.Parallel()
	dsn := pooled(t, street(t, 3), "session", nil)
	jobs := []export.DumpJob{job(dsn, export.SQL, "t0"), job(dsn, export.Custom, "t1"), job(dsn, export.SQL, "t2")}
	for i, e := range together(t, groups(t, pgdump.Config{}, pgdump.GroupConfig{}), jobs...) {
		whole(t, jobs[i].Schemas[0], jobs[i].Format, e, true)
		contains(t, "warnings", strings.Join(e.info.Warnings, "; "), "through a pooler")
	}
}

// The settings that pg_dump makes before its transaction would be lost, or reach another session.
func TestAPoolerThatSharesServersIsRefusedByName(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"transaction", "statement"} {
		for name, settings := range map[string]map[string]string{"as it comes": nil, "options are ignored": ignored} {
			t.Run(mode+" "+name, func(t *testing.T) {
				t.Parallel()
				dsn := pooled(t, database(t, cluster, simple), mode, settings)
				_, err := dumper(t, pgdump.Config{}).Open(t.Context(), job(dsn, export.SQL, "s"))
				f := fault(t, err, codes.SourcePooled)
				contains(t, "message", f.Message, "transaction or statement mode")
			})
		}
	}
}

func TestAPoolerWithOneConnectionIsNamed(t *testing.T) {
	t.Parallel()
	dsn := pooled(t, database(t, cluster, simple), "session", map[string]string{"default_pool_size": "1"})
	_, err := dumper(t, pgdump.Config{}).Open(t.Context(), job(dsn, export.SQL, "s"))
	f := fault(t, err, codes.SourceUnavailable)
	contains(t, "message", f.Message, "no second connection")
}
