package roundtrip_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/file"
)

// mostForTwo is the promise: two destinations take less than 1.15 times the wall time of one when
// neither is the bottleneck.
const mostForTwo = 1.15

// BenchmarkTwoDestinations exports about 400 MB to one folder and to two, in turns, and
// reports the ratio of the best times. The dump and its compression are the bottleneck.
// Run it with -benchtime 1x.
func BenchmarkTwoDestinations(b *testing.B) {
	if err := cluster.execute(b.Context(), "postgres", "CREATE DATABASE bulk"); err != nil {
		b.Fatal(err)
	}
	const sql = `CREATE SCHEMA rich; CREATE SCHEMA "Ten*ant ""x"".;'\"; CREATE TABLE rich.bulk AS
		SELECT n, md5(n::text) AS a, md5((n * 7)::text) AS b, repeat('some text that is said again ', 9) AS c FROM generate_series(1, 1200000) AS n; ANALYZE`
	if err := cluster.execute(b.Context(), "bulk", sql); err != nil {
		b.Fatal(err)
	}
	folder := func() storage.Target {
		driver, err := file.Open(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = driver.Close() })
		r, err := storage.New(storage.Config{Driver: driver})
		if err != nil {
			b.Fatal(err)
		}
		return storage.Target{Name: "file", Store: storage.Budgeted{Store: r, Budget: time.Hour}}
	}
	fan, err := storage.NewFan([]storage.Target{folder(), folder()}, nil)
	if err != nil {
		b.Fatal(err)
	}
	one, two := folder().Store, export.Store(fan)
	for b.Loop() {
		best := map[export.Store]time.Duration{}
		for round := range 4 {
			for _, store := range []export.Store{one, two} {
				took := timed(b, store, fmt.Sprint("r", round))
				if round > 0 && (best[store] == 0 || took < best[store]) { // the first one warms the caches
					best[store] = took
				}
			}
		}
		ratio := best[two].Seconds() / best[one].Seconds()
		b.ReportMetric(best[one].Seconds(), "one-s")
		b.ReportMetric(best[two].Seconds(), "two-s")
		b.ReportMetric(ratio, "ratio")
		if ratio >= mostForTwo {
			b.Errorf("two destinations cost %.2f times one", ratio)
		}
	}
}

// timed exports once and removes it again.
func timed(b *testing.B, store export.Store, id string) time.Duration {
	b.Helper()
	begun := time.Now()
	cluster.export(b, store, "bulk", id, export.SQL, seal.Zstd, "", nil)
	took := time.Since(begun)
	if err := store.Delete(context.WithoutCancel(b.Context()), "acme/"+id+".1.sql.zst"); err != nil {
		b.Fatal(err)
	}
	return took
}
