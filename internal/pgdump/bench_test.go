package pgdump_test

import (
	"fmt"
	"io"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
)

// BenchmarkTiny compares a dump of a tiny schema with the bare pg_dump that it runs: the difference
// is the preflight, the snapshot and the counts. Each turn runs all of them, and the report has the
// medians.
func BenchmarkTiny(b *testing.B) {
	dsn := cluster.URL("postgres")
	open := func(keep time.Duration) *pgdump.Dumper {
		d, err := pgdump.New(pgdump.Config{DefaultDSN: export.Secret(dsn), KeepWarm: keep})
		if err != nil {
			b.Fatal(err)
		}
		return d
	}
	cold, warm := open(0), open(time.Minute)
	defer func() { _ = warm.Close() }()
	execute(b, dsn, "CREATE SCHEMA IF NOT EXISTS tiny; CREATE TABLE IF NOT EXISTS tiny.t (a int PRIMARY KEY, b text)")
	took := map[string][]time.Duration{}
	measure := func(name string, work func()) {
		begun := time.Now()
		work()
		took[name] = append(took[name], time.Since(begun))
	}
	for b.Loop() {
		measure("bare", func() { bare(b, cold, dsn, "tiny") })
		measure("cold", func() { tiny(b, cold) })
		measure("warm", func() { tiny(b, warm) })
	}
	for name, all := range took {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, name+"-ms")
	}
}

func tiny(b *testing.B, d *pgdump.Dumper) {
	b.Helper()
	dump, err := d.Open(b.Context(), export.DumpJob{Schemas: []string{"tiny"}, Format: export.SQL})
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

// bare runs pg_dump as users do.
func bare(b *testing.B, d *pgdump.Dumper, dsn, schema string) {
	b.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		b.Fatal(err)
	}
	password, _ := u.User.Password()
	cmd := exec.CommandContext(b.Context(), d.Versions()[0].Path, `--schema="`+schema+`"`, "--strict-names", "--no-owner", "--no-acl")
	cmd.Env = []string{
		"PGHOST=" + u.Hostname(), "PGPORT=" + u.Port(), "PGUSER=postgres", "PGPASSWORD=" + password,
		"PGDATABASE=" + strings.Trim(u.Path, "/"), "PGOPTIONS=-c enable_mergejoin=off",
	}
	cmd.Stdout = io.Discard
	if err := cmd.Run(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkTenants compares one pg_dump for each of 500 tenants, of 10 tables each, with
// groups of 100. Each line's ms/tenant is for one of them; "bare" dumps one per turn.
func BenchmarkTenants(b *testing.B) {
	const tenants, group = 500, 100
	execute(b, cluster.URL("postgres"), "CREATE DATABASE tenants")
	defer execute(b, cluster.URL("postgres"), "DROP DATABASE tenants WITH (FORCE)")
	dsn := cluster.URL("tenants")
	for i := range tenants {
		var sql strings.Builder
		fmt.Fprintf(&sql, "CREATE SCHEMA t%d; SET search_path = t%[1]d;", i)
		for n := range 10 {
			fmt.Fprintf(&sql, "CREATE TABLE x%d (id serial PRIMARY KEY, a text, b int, c timestamptz DEFAULT now()); CREATE INDEX ON x%[1]d (b); INSERT INTO x%[1]d (a) SELECT 'row' FROM generate_series(1, 20);", n)
		}
		execute(b, dsn, sql.String())
	}
	execute(b, dsn, "VACUUM ANALYZE")
	d, err := pgdump.New(pgdump.Config{DefaultDSN: export.Secret(dsn)})
	if err != nil {
		b.Fatal(err)
	}
	perTenant := func(b *testing.B, n int) {
		b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N*n), "ms/tenant")
	}
	b.Run("bare", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			bare(b, d, dsn, fmt.Sprintf("t%d", i%tenants))
		}
		perTenant(b, 1)
	})
	for _, f := range []export.Format{export.SQL, export.Custom} {
		b.Run("groups of 100/"+string(f), func(b *testing.B) {
			g, err := pgdump.NewGroupDumper(pgdump.GroupConfig{Dumper: d})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				for first := 0; first < tenants; first += group {
					var all sync.WaitGroup
					for i, m := range g.NewGroup(export.GroupKey{}, group) {
						all.Go(func() {
							e := dumpAs(b.Context(), m, export.DumpJob{Schemas: []string{fmt.Sprintf("t%d", first+i)}, Format: f})
							if e.err != nil || !e.grouped {
								b.Errorf("error %v, grouped %t", e.err, e.grouped)
							}
						})
					}
					all.Wait()
				}
			}
			perTenant(b, tenants)
		})
	}
}
