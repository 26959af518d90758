package roundtrip_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/file"
)

// benchBytes is the approximate size of the dump of the benchmark's tables. BENCH_BYTES overrides
// it.
const benchBytes = 1 << 30

// platformSQL fills schemas with rows as pgbench does, a third each with text and jsonb of the same
// volume.
const platformSQL = `CREATE SCHEMA rich; CREATE SCHEMA "Ten*ant ""x"".;'\";
	CREATE TABLE rich.accounts AS SELECT n AS aid, n / 100000 + 1 AS bid, 0 AS abalance, repeat(' ', 84)::char(84) AS filler FROM generate_series(1, %[1]d / 100) n;
	CREATE TABLE rich.notes AS SELECT n, md5(n::text) AS a, repeat('some text that is said again ', 9) || md5((n * 7)::text) AS b FROM generate_series(1, %[1]d / 335) n;
	CREATE TABLE rich.docs AS SELECT n, jsonb_build_object('id', n, 'name', md5(n::text), 'tags', jsonb_build_array('a', 'b', n %% 100), 'body', repeat(md5((n * 3)::text) || ' ', 6)) AS d FROM generate_series(1, %[1]d / 310) n;
	CREATE TABLE rich.tellers AS SELECT n FROM generate_series(1, 1000) n`

// BenchmarkParallel exports about 1 GB to a folder, uncompressed, over one connection and
// over two, in turns with a bare pg_dump to nowhere, and reports the medians as ratios to it.
// Run it with -benchtime 1x.
func BenchmarkParallel(b *testing.B) {
	size := int64(benchBytes)
	if v := os.Getenv("BENCH_BYTES"); v != "" {
		var err error
		if size, err = strconv.ParseInt(v, 10, 64); err != nil {
			b.Fatal(err)
		}
	}
	if err := cluster.execute(b.Context(), "postgres", "CREATE DATABASE platform"); err != nil {
		b.Fatal(err)
	}
	for _, sql := range []string{fmt.Sprintf(platformSQL, size/3), "VACUUM ANALYZE"} {
		if err := cluster.execute(b.Context(), "platform", sql); err != nil {
			b.Fatal(err)
		}
	}
	driver, err := file.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = driver.Close() }()
	store, err := storage.New(storage.Config{Driver: driver})
	if err != nil {
		b.Fatal(err)
	}
	ours := func(f export.Format) func() {
		return func() {
			cluster.export(b, store, "platform", "r", f, seal.Plain, "", nil)
		}
	}
	runs := []struct {
		name string
		run  func()
	}{{"floor", func() { bare(b) }}, {"sql", ours(export.SQL)}, {"directory", ours(export.Directory)}}
	took, spent := map[string][]float64{}, map[string][]float64{}
	for b.Loop() {
		for round := range 6 {
			for _, r := range runs {
				before, begun := processorTime(b), time.Now()
				r.run()
				wall, processor := time.Since(begun).Seconds(), processorTime(b)-before
				if round > 0 { // the first one warms the caches
					took[r.name] = append(took[r.name], wall)
					spent[r.name] = append(spent[r.name], processor)
				}
				for _, f := range []export.Format{export.SQL, export.Directory} {
					if err := store.Delete(context.WithoutCancel(b.Context()), "acme/r.1"+f.Extension()); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
	}
	median := func(of map[string][]float64, name string) float64 {
		s := slices.Sorted(slices.Values(of[name]))
		b.Logf("%s: %.2f", name, s)
		return s[len(s)/2]
	}
	for unit, of := range map[string]map[string][]float64{"wall": took, "processor": spent} {
		b.Log(unit)
		floor := median(of, "floor")
		b.ReportMetric(floor, "floor-"+unit+"-s")
		b.ReportMetric(median(of, "sql")/floor, "sql-"+unit+"-ratio")
		b.ReportMetric(median(of, "directory")/floor, "directory-"+unit+"-ratio")
	}
}

// rest waits until the server has reaped its sessions on the database: only then their times are
// counted.
func rest(b *testing.B, postmaster string) {
	b.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		children, err := os.ReadFile(filepath.Join("/proc", postmaster, "task", postmaster, "children"))
		if err != nil {
			b.Fatal(err)
		}
		busy := false
		for _, pid := range strings.Fields(string(children)) {
			title, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
			busy = busy || err == nil && (len(title) == 0 || strings.Contains(string(title), " platform ")) // an ended one has no title
		}
		if !busy {
			return
		}
	}
	b.Fatal("the server's sessions do not end")
}

// processorTime is the time that this process, its ended tools and the server's ended sessions took
// so far. Unlike the wall clock it is meaningful on a busy machine too.
func processorTime(b *testing.B) (seconds float64) {
	b.Helper()
	lines, err := os.ReadFile(filepath.Join(cluster.Folder, "data", "postmaster.pid"))
	if err != nil {
		b.Fatal(err)
	}
	pid, _, _ := strings.Cut(string(lines), "\n")
	rest(b, pid)
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		seconds += time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
	}
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	for _, field := range strings.Fields(rest)[13:15] { // cutime and cstime, proc(5)
		ticks, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		seconds += float64(ticks) / 100 // USER_HZ is 100 on every Linux that Go runs on
	}
	return seconds
}

// bare is the lower bound: pg_dump alone, with its output discarded.
func bare(b *testing.B) {
	b.Helper()
	cmd, err := cluster.client(b.Context(), "platform", "pg_dump", "--schema=rich")
	if err != nil {
		b.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	cmd.Stdout = null
	if err := cmd.Run(); err != nil {
		b.Fatal(err)
	}
}
