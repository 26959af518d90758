package pgdump_test

import (
	"io"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// BenchmarkTiny compares a dump of a tiny schema with the bare pg_dump it runs: the
// difference is the look at the source, the snapshot and the counts.
func BenchmarkTiny(b *testing.B) {
	dsn := cluster.URL("postgres")
	u, err := url.Parse(dsn)
	if err != nil {
		b.Fatal(err)
	}
	password, _ := u.User.Password()
	d, err := pgdump.New(pgdump.Config{DefaultDSN: export.Secret(dsn)})
	if err != nil {
		b.Fatal(err)
	}
	execute(b, dsn, "CREATE SCHEMA IF NOT EXISTS tiny; CREATE TABLE IF NOT EXISTS tiny.t (a int PRIMARY KEY, b text)")
	j := export.DumpJob{Schemas: []string{"tiny"}, Format: seal.SQL}

	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			cmd := exec.CommandContext(b.Context(), d.Versions()[0].Path, `--schema="tiny"`, "--strict-names", "--no-owner", "--no-acl")
			cmd.Env = []string{
				"PGHOST=" + u.Hostname(), "PGPORT=" + u.Port(), "PGUSER=postgres", "PGPASSWORD=" + password,
				"PGDATABASE=" + strings.Trim(u.Path, "/"), "PGOPTIONS=-c enable_mergejoin=off",
			}
			cmd.Stdout = io.Discard
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ours", func(b *testing.B) {
		for b.Loop() {
			dump, err := d.Open(b.Context(), j)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, dump); err != nil {
				b.Fatal(err)
			}
			if _, err := dump.Rows(b.Context()); err != nil {
				b.Fatal(err)
			}
			if err := dump.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("look only", func(b *testing.B) {
		for b.Loop() {
			if err := pgdump.Look(b.Context(), d, j); err != nil {
				b.Fatal(err)
			}
		}
	})
}
