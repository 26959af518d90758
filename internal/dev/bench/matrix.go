package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/pgcourier/pgcourier/events"
)

// majors are the versions of the part matrix.
var majors = []int{15, 17, 18}

// databaseOfKinds has a schema for each kind of data.
const databaseOfKinds = "kinds"

// dataKind is a kind of rows in which nothing repeats. Many tables have such columns.
type dataKind struct {
	name string // of its schema, and of its project
	text string
	row  int64  // bytes of a row in a plain dump, about
	sql  string // the rows of a table, for n from 1
}

// random32 are 32 bytes that depend on n and m.
const random32 = "sha256(('x' || n || '.' || m)::bytea)"

var dataKinds = []dataKind{
	{"uuids", "three UUIDs and a float", 132, "SELECT gen_random_uuid() AS a, gen_random_uuid() AS b, gen_random_uuid() AS c, random() AS f FROM rows"},
	{"bytea", "bytea, 1 MiB of random bytes", 2 << 20, "SELECT n, (SELECT string_agg(" + random32 + ", '') FROM generate_series(1, 32768) AS m) AS b FROM rows"},
	{"base64", "base64 of 1,216 random bytes", 1632, "SELECT n, (SELECT translate(encode(string_agg(" + random32 + ", ''), 'base64'), E'\\n', '') FROM generate_series(1, 38) AS m) AS t FROM rows"},
	{"hex", "hex of 32 random bytes", 72, "SELECT n, encode(sha256(('x' || n)::bytea), 'hex') AS t FROM rows"},
}

// The names of variants in the figures.
const (
	peerGzip1 = "pg_dump | gzip -1"
	peerZstd1 = "pg_dump | zstd -1"
	peerPigz1 = "pg_dump | pigz -1"
	peerFc    = "pg_dump -Fc"
)

// tried are the trials of one major, by kind and variant.
type tried map[string]map[string][]trial

// matrix measures each kind of data on each major, with its own client tools.
func matrix(ctx context.Context, l *lab) (result, error) {
	r := result{Series: map[string][]trial{}}
	all := map[int]tried{}
	var variants []variant
	var servers []string
	for _, major := range majors {
		err := l.onMajor(ctx, major, func(v *lab) (err error) {
			text, err := v.serverVersion(ctx)
			if err != nil {
				return err
			}
			servers = append(servers, strings.TrimPrefix(text, "PostgreSQL server "))
			all[major], variants, err = v.measureKinds(ctx, major)
			return err
		})
		if err != nil {
			return r, fmt.Errorf("PostgreSQL %d: %w", major, err)
		}
		for kind, found := range all[major] {
			for name, trials := range found {
				r.Series[fmt.Sprintf("%d %s: %s", major, kind, name)] = trials
			}
		}
	}
	r.servers = "PostgreSQL servers " + strings.Join(servers, ", ")
	r.Scale = fmt.Sprintf("%d rounds, each kind about %s of a plain dump.", l.rounds, humanize.Bytes(uint64(l.size))) //nolint:gosec // not negative
	r.about = []string{
		"The servers and the client tools are those that `make matrix` uses (`make postgres-versions`), on this machine; a client tool runs with the C library of its own " +
			"Debian release. All variants of a kind run in turns. The time of ours is the gateway's, from the publish of the request to the outcome, the file synced and " +
			"read back; peers do not sync. Seconds and processor seconds are medians of the rounds, the ratio to `pg_dump > /dev/null` is the median of those of the " +
			"rounds, with the least and the most. Processor seconds are in user and system mode; pg_dump's are after the plus sign, before it those of the worker, or of the " +
			"compressor. Stored size and peak memory are medians over all versions; memory is the worker's and, after the plus sign, its pg_dump's, or that of a pipeline.",
	}
	r.tables = []table{kindsTable(variants, all)}
	r.Figures = kindsFigures(all)
	r.notes = append(r.notes, othersNote(all))
	for _, v := range variants {
		if v.missing != "" {
			r.notes = append(r.notes, "Not measured: "+v.name+": "+v.missing+".")
		}
	}
	return r, nil
}

// onMajor runs f in a lab with the server and the client tools of a major.
func (l *lab) onMajor(ctx context.Context, major int, f func(*lab) error) (err error) {
	from, err := filepath.Abs(l.versions)
	if err != nil {
		return err
	}
	clients := filepath.Join(from, "client-"+strconv.Itoa(major), "bin")
	if _, err := os.Stat(filepath.Join(clients, "pg_dump")); err != nil {
		return fmt.Errorf("run `make postgres-versions`: %w", err)
	}
	// The server does not run as root, and the checkout may be in a folder that only root can enter.
	copied, err := os.MkdirTemp("", "pgcourier-bench-server-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(copied)) }()
	if err := os.Chmod(copied, 0o755); err != nil { //nolint:gosec // the server's user reads it
		return err
	}
	server := filepath.Join(from, "server-"+strconv.Itoa(major))
	if out, err := exec.CommandContext(ctx, "cp", "-r", server+"/.", copied).CombinedOutput(); err != nil { //nolint:gosec // folders of our own
		return fmt.Errorf("copy the server: %w: %s", err, bytes.TrimSpace(out))
	}
	v := &lab{options: l.options, binary: l.binary, self: l.self, clients: clients}
	if v.dir, err = os.MkdirTemp("", "pgcourier-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	l.tell("starting PostgreSQL %d", major)
	if err := v.startServer(ctx, filepath.Join(copied, "bin")); err != nil {
		return err
	}
	return f(v)
}

// measureKinds loads all kinds and measures one after another.
func (l *lab) measureKinds(ctx context.Context, major int) (tried, []variant, error) {
	if err := l.loading(ctx, func() error { return l.loadKinds(ctx) }); err != nil {
		return nil, nil, err
	}
	out := tried{}
	var variants []variant
	for _, k := range dataKinds {
		variants = l.kindVariants(k.name)
		if _, err := variants[0].run(ctx); err != nil { // caches are warm
			return nil, nil, err
		}
		found, err := l.interleave(ctx, fmt.Sprintf("PostgreSQL %d, %s", major, k.name), variants)
		if err != nil {
			return nil, nil, err
		}
		out[k.name] = found
	}
	return out, variants, nil
}

func (l *lab) loadKinds(ctx context.Context) error {
	l.tell("loading")
	if err := l.execute(ctx, "postgres", "CREATE DATABASE "+databaseOfKinds); err != nil {
		return err
	}
	statements := []string{"CREATE SCHEMA tiny", "CREATE TABLE tiny.t (a int PRIMARY KEY, b text)"}
	projects := map[string]string{}
	for _, k := range dataKinds {
		statements = append(statements, "CREATE SCHEMA "+k.name,
			fmt.Sprintf("CREATE TABLE %s.t AS WITH rows AS (SELECT generate_series(1, %d) AS n) %s", k.name, max(l.size/k.row, 1), k.sql))
		projects[k.name], projects[tinyOf(k.name)] = k.name, "tiny"
	}
	if err := l.execute(ctx, databaseOfKinds, append(statements, "VACUUM (ANALYZE)")...); err != nil {
		return err
	}
	return l.enrol(ctx, databaseOfKinds, projects)
}

// kindVariants are all ways to export one kind, the floor first.
func (l *lab) kindVariants(kind string) []variant {
	dump := l.dump(kind)
	all := []variant{l.pipe(nameFloor, databaseOfKinds, "", dump)}
	for _, c := range []events.Compression{events.CompressionNone, events.CompressionGzip, events.CompressionZstd} {
		all = append(all, l.ours("pgcourier sql "+string(c), events.Requested{ProjectID: kind, Compression: c}, "", false))
	}
	for _, c := range []events.Compression{events.CompressionGzip, events.CompressionZstd} {
		for _, level := range []events.CompressionLevel{events.CompressionFast, events.CompressionBest} {
			all = append(all, l.ours(fmt.Sprintf("pgcourier sql %s, %s", c, level), events.Requested{ProjectID: kind, Compression: c, CompressionLevel: level}, "", false))
		}
	}
	return append(all,
		l.pipe(peerGzip1, databaseOfKinds, "dump.sql.gz", dump, command{"gzip", "-1"}),
		l.pipe(peerZstd1, databaseOfKinds, "dump.sql.zst", dump, command{"zstd", "-q", "-1"}),
		l.pipe(peerPigz1, databaseOfKinds, "dump.sql.gz", dump, command{"pigz", "-1"}),
		l.pipe(peerFc, databaseOfKinds, "dump", l.dump(kind, "--format=custom")))
}

// kindsTable has a line for each variant of each kind, and three columns for each major.
func kindsTable(variants []variant, all map[int]tried) table {
	t := table{head: []string{"data", "", "stored, MB", "memory, MiB"}}
	for _, major := range majors {
		t.head = append(t.head, fmt.Sprintf("%d: seconds", major), "to the floor", "processor, s")
	}
	for _, k := range dataKinds {
		for _, v := range variants {
			var every []trial
			var cells []string
			for _, major := range majors {
				trials := all[major][k.name][v.name]
				if every = append(every, trials...); len(trials) == 0 {
					cells = append(cells, "–", "–", "–")
					continue
				}
				cells = append(cells, fmt.Sprintf("%.2f", over(pick(trials, wallOf)).Median),
					ratio(pick(trials, wallOf), pick(all[major][k.name][nameFloor], wallOf)).text(2), processorText(trials))
			}
			if len(every) == 0 {
				continue
			}
			stored, memory := "/dev/null", fmt.Sprintf("%.0f", over(pick(every, memoryOf)).Median)
			if every[0].Output > 0 {
				stored = fmt.Sprintf("%.1f", over(pick(every, outputOf)).Median*mebibyte/1e6)
			}
			if every[0].Service > 0 {
				memory += fmt.Sprintf(" + %.0f", over(pick(every, childrenOf)).Median)
			}
			t.add(append([]string{k.text, shown(v.name), stored, memory}, cells...)...)
		}
	}
	return t
}

// kindsFigures are the sizes beside those of gzip -1 and zstd -1, and the times beside the floor, over
// the rounds of all majors.
func kindsFigures(all map[int]tried) []figure {
	ratios := func(kind, a, b string, of func(trial) float64) stat {
		var values []float64
		for _, major := range majors {
			found := all[major][kind]
			values = append(values, each(pick(found[a], of), pick(found[b], of), func(a, b float64) float64 { return a / b })...)
		}
		return over(values)
	}
	var out []figure
	for _, k := range dataKinds {
		for _, c := range []struct {
			name, ours, peer string
			time             float64
		}{{"gzip", oursGzip, peerGzip1, 1.10}, {"zstd", oursZstd, peerZstd1, 1.05}} {
			out = append(out,
				figure{
					Name: k.name + "_" + c.name + "_size", Text: k.text + ", " + c.name + ": stored size to that of `" + c.name + " -1`",
					Value: ratios(k.name, c.ours, c.peer, outputOf), Kind: atMost, Limit: 1.05,
				}.judged(),
				figure{
					Name: k.name + "_" + c.name + "_to_floor", Text: k.text + ", " + c.name + ": seconds to the floor",
					Value: ratios(k.name, c.ours, nameFloor, wallOf), Kind: atMost, Limit: c.time,
				}.judged())
		}
	}
	return out
}

// othersNote tells how busy the machine was with other work.
func othersNote(all map[int]tried) string {
	var words []string
	for _, major := range majors {
		var every []trial
		for _, found := range all[major] {
			for _, trials := range found {
				every = append(every, trials...)
			}
		}
		s := over(pick(every, othersOf))
		words = append(words, fmt.Sprintf("%.0f %% on %d (at most %.0f %%)", s.Median, major, s.Max))
	}
	return "Of all processors, other processes and the kernel had during a run, in the median: " + strings.Join(words, ", ") +
		". Where that is not near to 0, seconds of the clock and ratios of them are not to be trusted; processor seconds and sizes are."
}
