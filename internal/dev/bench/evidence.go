package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events"
)

// nameCounts is the counting alone, as a worker does it.
const nameCounts = "the counts alone (psql)"

// countedAtOnce is how many tables a worker counts with one statement.
const countedAtOnce = 64

// tableSet is a project and how it is filled. Its rows are counted.
type tableSet struct {
	database string // and its project
	text     string
	load     func(ctx context.Context) error
}

// read is what a variant asked of the server.
type read struct {
	blocks float64 // of 8 KiB, in the server's buffers or not
	locks  int     // most at a time on this database
}

// evidence measures the bare pg_dump, the counts alone, and an export, which is both with the worker's
// own work.
func evidence(ctx context.Context, l *lab) (result, error) {
	r := result{Series: map[string][]trial{}, Scale: fmt.Sprintf("%d rounds.", l.rounds)}
	sets := []tableSet{
		{"evidence_large", "three tables, about " + humanize.Bytes(uint64(l.size)), func(ctx context.Context) error { return l.loadLarge(ctx, "evidence_large", l.size) }}, //nolint:gosec // not negative
		{"evidence_many", humanize.Comma(int64(l.tables)) + " tables of 10 rows with two indexes", l.loadMany},
	}
	if err := l.execute(ctx, "postgres", "CREATE DATABASE evidence_tiny"); err != nil {
		return r, err
	}
	if err := l.execute(ctx, "evidence_tiny", "CREATE SCHEMA tiny", "CREATE TABLE tiny.t (a int PRIMARY KEY, b text)"); err != nil {
		return r, err
	}
	r.about = []string{
		"An export counts the rows of each table in the snapshot of its dump, in a session beside pg_dump, while pg_dump reads the same table. The lines are the bare " +
			"pg_dump to /dev/null, the same statements of counts alone by psql, and an export to a folder without compression, in turns, with warm caches. Blocks are " +
			"those that the database's sessions asked for (`pg_stat_database`, in buffers or not), the catalogue's with them; locks are the most at a time on the database " +
			"(`pg_locks`, looked at every 50 ms). Both are of a run before the rounds, which is not timed. " + strings.TrimSpace(processorNote) + " Of the counts alone they are psql's.",
	}
	t := table{head: []string{"tables", "", "seconds", "to pg_dump", "processor, s", "of the server, s", "of others", "blocks", "locks"}}
	for _, s := range sets {
		l.tell("loading %s", s.text)
		if err := l.loading(ctx, func() error { return s.load(ctx) }); err != nil {
			return r, err
		}
		err := errors.Join(l.enrol(ctx, s.database, map[string]string{s.database: schemaOfWall}),
			l.enrol(ctx, "evidence_tiny", map[string]string{tinyOf(s.database): "tiny"}))
		if err != nil {
			return r, err
		}
		figures, err := l.priceOf(ctx, s, &t, r.Series)
		if err != nil {
			return r, fmt.Errorf("%s: %w", s.text, err)
		}
		r.Figures = append(r.Figures, figures...)
		if err := l.drop(ctx, s.database); err != nil {
			return r, err
		}
	}
	r.tables = []table{t}
	return r, nil
}

// priceOf measures one set of tables, and adds its lines.
func (l *lab) priceOf(ctx context.Context, s tableSet, t *table, series map[string][]trial) ([]figure, error) {
	script, err := l.countScript(ctx, s.database)
	if err != nil {
		return nil, err
	}
	variants := []variant{
		l.pipe(nameFloor, s.database, "", l.dump(schemaOfWall)),
		l.pipe(nameCounts, s.database, "", command{l.tool("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", script}),
		l.ours(oursPlain, events.Requested{ProjectID: s.database, Compression: events.CompressionNone}, "", false),
	}
	if _, err := variants[0].run(ctx); err != nil { // caches are warm
		return nil, err
	}
	asked := map[string]read{}
	for _, v := range variants {
		if asked[v.name], err = l.reads(ctx, s.database, v); err != nil {
			return nil, err
		}
	}
	found, err := l.interleave(ctx, s.text, variants)
	if err != nil {
		return nil, err
	}
	for _, v := range variants {
		trials := found[v.name]
		series[s.database+": "+v.name] = trials
		if len(trials) == 0 {
			continue
		}
		t.add(s.text, shown(v.name), over(pick(trials, wallOf)).text(2), ratio(pick(trials, wallOf), pick(found[nameFloor], wallOf)).text(2), processorText(trials),
			fmt.Sprintf("%.2f", over(pick(trials, serverOf)).Median), fmt.Sprintf("%.0f %%", over(pick(trials, othersOf)).Median),
			humanize.Comma(int64(asked[v.name].blocks)), humanize.Comma(int64(asked[v.name].locks)))
	}
	return []figure{
		{Name: s.database + "_server", Text: s.text + ": the counts' processor seconds of the server to pg_dump's", Value: ratio(pick(found[nameCounts], serverOf), pick(found[nameFloor], serverOf))},
		{Name: s.database + "_blocks", Text: s.text + ": the export's blocks to pg_dump's", Value: over([]float64{asked[oursPlain].blocks / asked[nameFloor].blocks})},
	}, nil
}

// loadMany makes many small tables.
func (l *lab) loadMany(ctx context.Context) error {
	if err := l.execute(ctx, "postgres", "CREATE DATABASE evidence_many"); err != nil {
		return err
	}
	statements := []string{"CREATE SCHEMA " + schemaOfWall}
	for first := 1; first <= l.tables; first += 1000 { // each transaction holds the locks of its tables
		statements = append(statements, fmt.Sprintf(`DO $$ BEGIN FOR i IN %d..%d LOOP
	EXECUTE format('CREATE TABLE %s.t%%s (id int PRIMARY KEY, name text, at timestamptz DEFAULT now())', i);
	EXECUTE format('CREATE INDEX ON %[3]s.t%%s (name)', i);
	EXECUTE format('INSERT INTO %[3]s.t%%s SELECT n, md5(n::text) FROM generate_series(1, 10) AS n', i);
END LOOP; END $$`, first, min(first+999, l.tables), schemaOfWall))
	}
	return l.execute(ctx, "evidence_many", append(statements, "VACUUM (ANALYZE)")...)
}

// countScript writes the statements with which a worker counts a schema's tables.
func (l *lab) countScript(ctx context.Context, database string) (file string, err error) {
	conn, err := pgx.Connect(ctx, l.cluster.URL(database))
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r' ORDER BY 1", schemaOfWall)
	if err != nil {
		return "", err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n")
	for some := range slices.Chunk(tables, countedAtOnce) {
		b.WriteString("SAVEPOINT count; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off;\n")
		for i, name := range some {
			if i > 0 {
				b.WriteString(" UNION ALL ")
			}
			fmt.Fprintf(&b, "SELECT %d, count(*) FROM ONLY %s", i, name)
		}
		b.WriteString(";\nROLLBACK TO SAVEPOINT count; RELEASE SAVEPOINT count;\n")
	}
	b.WriteString("COMMIT;\n")
	file = filepath.Join(l.dir, database+".counts.sql")
	return file, os.WriteFile(file, []byte(b.String()), 0o600)
}

// reads runs a variant once and returns what it asked of the server.
func (l *lab) reads(ctx context.Context, database string, v variant) (r read, err error) {
	conn, err := pgx.Connect(ctx, l.cluster.URL("postgres"))
	if err != nil {
		return r, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	before, err := blocksOf(ctx, conn, database)
	if err != nil {
		return r, err
	}
	looking, stop := context.WithCancel(ctx)
	most := make(chan int, 1)
	go func() {
		n := 0
		defer func() { most <- n }()
		for looking.Err() == nil {
			var now int
			err := conn.QueryRow(context.WithoutCancel(looking), "SELECT count(*) FROM pg_locks WHERE database = (SELECT oid FROM pg_database WHERE datname = $1)", database).Scan(&now)
			if err != nil {
				return // the connection is broken, and blocksOf says so
			}
			n = max(n, now)
			select {
			case <-looking.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	_, err = v.run(ctx)
	stop()
	r.locks = <-most
	if err != nil {
		return r, err
	}
	after, err := blocksOf(ctx, conn, database)
	r.blocks = after - before
	return r, err
}

// blocksOf returns the blocks that ended sessions of a database have asked for. A session reports at
// its end, so it waits until the last one has gone.
func blocksOf(ctx context.Context, conn *pgx.Conn, database string) (blocks float64, err error) {
	for {
		var sessions int
		err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'", database).Scan(&sessions)
		if err != nil {
			return 0, err
		}
		if sessions == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
	err = conn.QueryRow(ctx, "SELECT (blks_read + blks_hit)::float8 FROM pg_stat_database WHERE datname = $1", database).Scan(&blocks)
	return blocks, err
}
