package roundtrip_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// side is what a database holds.
type side struct {
	rows    map[string]contents.Table
	objects []string
}

func (s server) look(ctx context.Context, database string) (found side, err error) {
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		return side{}, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	if found.objects, err = objects(ctx, conn); err != nil {
		return side{}, err
	}
	// An empty materialized view cannot be read; that it is empty is among the objects.
	if _, err := conn.Exec(ctx, `REFRESH MATERIALIZED VIEW rich.not_filled`); err != nil {
		return side{}, err
	}
	found.rows, err = contents.Read(ctx, conn, schemas)
	return found, err
}

// compare lists what differs: rows only, if want has no objects. Servers of other versions say
// them in other words.
func compare(want, got side) []string {
	diffs := contents.Compare(want.rows, got.rows)
	if want.objects == nil {
		return diffs
	}
	for _, o := range want.objects {
		if !slices.Contains(got.objects, o) {
			diffs = append(diffs, "missing: "+o)
		}
	}
	for _, o := range got.objects {
		if !slices.Contains(want.objects, o) {
			diffs = append(diffs, "not expected: "+o)
		}
	}
	return diffs
}

var everyCombination = flag.Bool("combinations", false, "try every combination; make combinations does")

// Without -combinations each pair of format, compression and storage is tried, not each three. Each
// format has a level of the compression.
func TestEveryFormatCompressionAndStorageRestoresTheSource(t *testing.T) {
	t.Parallel()
	// The look fills a materialized view, so it looks at a copy.
	copied := fmt.Sprintf("looked_at_%d", databases.Add(1))
	if err := cluster.execute(t.Context(), "postgres", "CREATE DATABASE "+copied+" TEMPLATE source"); err != nil {
		t.Fatal(err)
	}
	want, err := cluster.look(t.Context(), copied)
	if err != nil {
		t.Fatal(err)
	}
	if len(want.rows) < 25 || len(want.objects) < 250 {
		t.Fatalf("the source has %d tables and %d objects", len(want.rows), len(want.objects))
	}
	all := places(t)
	for i, storage := range slices.Sorted(maps.Keys(all)) {
		p := all[storage]
		levels := []seal.Level{seal.Default, seal.Fast, seal.Best, seal.Best}
		for j, format := range []export.Format{export.SQL, export.Tar, export.Custom, export.Directory} {
			for k, compression := range []seal.Compression{seal.Plain, seal.Gzip, seal.Zstd} {
				if !*everyCombination && (i+j+k)%3 != 0 {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%s", storage, format, compression), func(t *testing.T) {
					t.Parallel()
					restored(t, p, format, compression, levels[j], want)
				})
			}
		}
	}
}

func restored(t *testing.T, p place, format export.Format, compression seal.Compression, level seal.Level, want side) {
	t.Helper()
	id := fmt.Sprintf("%s-%s", format, compression)
	a := cluster.export(t, p, "source", id, format, compression, level, p.recipients)
	if compression == seal.Plain {
		level = ""
	}
	if want := map[bool]seal.Encryption{true: seal.Age, false: seal.Unencrypted}[len(p.recipients) > 0]; a.Encryption != want {
		t.Errorf("encryption is %s, want %s", a.Encryption, want)
	}
	key := "acme/" + id + ".1" + format.Extension() + seal.Extension(compression, a.Encryption)
	doc, err := p.Manifest(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if got := doc.Manifest.Artifact.Level; got != level {
		t.Errorf("the manifest says level %q, want %q", got, level)
	}
	if doc.SHA256 != a.SHA256 || doc.Manifest.Artifact.Rows != a.Rows {
		t.Errorf("the manifest says %s and %d rows, the outcome %s and %d", doc.SHA256, doc.Manifest.Artifact.Rows, a.SHA256, a.Rows)
	}
	database := strings.ReplaceAll("r_"+doc.SHA256[:16]+"_"+id, "-", "_")
	if err := cluster.execute(t.Context(), "postgres", "CREATE DATABASE "+database); err != nil {
		t.Fatal(err)
	}
	stored, err := p.Open(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := seal.Open(stored, compression, p.identities)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(cluster.feed(t.Context(), database, format, plain), plain.Close(), stored.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := cluster.look(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	if diffs := compare(want, got); len(diffs) > 0 {
		t.Errorf("%d differences:\n%s", len(diffs), strings.Join(diffs[:min(len(diffs), 20)], "\n"))
	}
	if err := cluster.execute(context.WithoutCancel(t.Context()), "postgres", "DROP DATABASE "+database); err != nil {
		t.Error(err)
	}
}
