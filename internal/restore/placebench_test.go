package restore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// benchRows is the number of rows of each of the four tables.
const benchRows = 150_000

// BenchmarkPlace compares a placement with pg_restore of the same archive:
// `go test -run '^$' -bench Place -benchtime 5x ./internal/restore`.
func BenchmarkPlace(b *testing.B) {
	from := database(b, "CREATE SCHEMA tenant")
	for i := range 4 {
		execute(b, from, fmt.Sprintf(`CREATE TABLE tenant.t%[1]d (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), name text, v numeric, note text);
			INSERT INTO tenant.t%[1]d (name, v, note) SELECT md5(i::text), i / 7.0, repeat('note ', i %% 20) FROM generate_series(1, %[2]d) i;
			CREATE INDEX ON tenant.t%[1]d (name); CREATE INDEX ON tenant.t%[1]d (at, v)`, i, benchRows))
	}
	plain := dump(b, from, export.Custom, "tenant")
	x := sealed(b, plain, kind{format: export.Custom, compression: seal.Plain}, "tenant")
	file := filepath.Join(b.TempDir(), "archive.dump")
	if err := os.WriteFile(file, plain, 0o600); err != nil {
		b.Fatal(err)
	}
	server, err := libpq.Parse(secret.String(cluster.URL("postgres")))
	if err != nil {
		b.Fatal(err)
	}
	r := restorer(restore.Config{Scratch: func(context.Context, int) (restore.Scratch, error) { return restore.Scratch{Server: server}, nil }})
	for _, way := range []string{"pg_restore", "place", "rename"} {
		b.Run(way, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				to := database(b, "")
				b.StartTimer()
				if way == "pg_restore" {
					cmd, err := cluster.Client(b.Context(), to, "pg_restore", "--dbname="+to, "--single-transaction", file)
					if err == nil {
						err = cmd.Run()
					}
					if err != nil {
						b.Fatal(err)
					}
				} else {
					p := restore.Placement{ID: "bench", Source: server.WithDatabase(to), Mode: restore.Create}
					if way == "rename" {
						p.Schema = "copy"
					}
					if _, err := r.Place(b.Context(), x.Export, p, nil); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				execute(b, "postgres", "DROP DATABASE "+to)
				b.StartTimer()
			}
		})
	}
}
