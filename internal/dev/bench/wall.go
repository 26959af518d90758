package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pgcourier/pgcourier/events"
)

// The names of variants in the figures.
const (
	nameFloor    = "pg_dump > /dev/null (the floor)"
	nameCopy     = "COPY of the same tables > /dev/null"
	oursPlain    = "pgcourier sql none"
	oursGzip     = "pgcourier sql gzip"
	oursZstd     = "pgcourier sql zstd"
	oursAge      = "pgcourier sql gzip, encrypted"
	oursS3       = "pgcourier sql gzip, to S3"
	oursTelegram = "pgcourier sql gzip, encrypted, to Telegram"
	oursParallel = "pgcourier directory none"
)

// tinyOf returns the name of a tiny project beside the large one.
func tinyOf(database string) string { return database + "-tiny" }

// wall measures one large project: the variants with a target at the full size, the other
// formats and peers at a quarter of it.
func wall(ctx context.Context, l *lab) (result, error) {
	quarter := max(l.size/4, 1<<20)
	sizes := map[string]int64{"wall": l.size, "wall_quarter": quarter}
	for database, size := range sizes {
		l.tell("loading about %s", humanize.Bytes(uint64(size))) //nolint:gosec // not negative
		if err := l.loading(ctx, func() error { return l.loadLarge(ctx, database, size) }); err != nil {
			return result{}, err
		}
		if err := l.execute(ctx, database, "CREATE SCHEMA tiny", "CREATE TABLE tiny.t (a int PRIMARY KEY, b text)"); err != nil {
			return result{}, err
		}
		if err := l.enrol(ctx, database, map[string]string{database: schemaOfWall, tinyOf(database): "tiny"}); err != nil {
			return result{}, err
		}
	}
	main, rest := l.wallVariants("wall"), l.wallVariants("wall_quarter")
	main = slices.DeleteFunc(main, func(v variant) bool { return !atFullSize(v.name) })
	rest = slices.DeleteFunc(rest, func(v variant) bool { return atFullSize(v.name) && v.name != nameFloor })
	for _, v := range []variant{main[0], rest[0]} { // both read the whole table once: caches are warm
		if _, err := v.run(ctx); err != nil {
			return result{}, err
		}
	}
	r := result{Series: map[string][]trial{}}
	first, err := l.interleave(ctx, "large", main)
	if err != nil {
		return r, err
	}
	second, err := l.interleave(ctx, "quarter", rest)
	if err != nil {
		return r, err
	}
	r.Scale = fmt.Sprintf("%d rounds.", l.rounds)
	r.about = []string{
		"One schema with pgbench's accounts, prose and jsonb (40, 30 and 30 percent of the dump, three tables), read by one server on the same machine, " +
			"with warm caches. Ours is a fresh worker process for each run: the time is the gateway's, from the publish of the request to the outcome in its hands, " +
			"the file synced and read back, and the ledger's commits with it; in brackets after it the export's own, from `started_at` to `finished_at`. " +
			"Peers do not sync. All write to the same disk but the floor and `COPY`, which write to /dev/null. " +
			"" + processorNote +
			"S3 and Telegram are test servers in processes of their own; the latter paces messages as Telegram does, one a second.",
	}
	r.tables = []table{wallTable(main, first, l.size), wallTable(rest, second, quarter)}
	for name, trials := range first {
		r.Series[name] = trials
	}
	for name, trials := range second {
		r.Series["quarter: "+name] = trials
	}
	r.Figures = wallFigures(first)
	for _, v := range slices.Concat(main, rest) {
		if v.missing != "" {
			r.notes = append(r.notes, "Not measured: "+v.name+": "+v.missing+".")
		}
	}
	return r, errors.Join(l.drop(ctx, "wall"), l.drop(ctx, "wall_quarter"))
}

// atFullSize reports whether a variant is measured at the full size, because it has a target or
// explains one that has.
func atFullSize(name string) bool {
	return slices.Contains([]string{nameFloor, nameCopy, oursPlain, oursGzip, oursZstd, oursAge, oursS3, oursTelegram, oursParallel, peerGzip, peerNode, peerDirectory}, name)
}

// wallVariants returns all ways to export one database's schema, the floor first.
func (l *lab) wallVariants(database string) []variant {
	all := []variant{
		{name: nameFloor, run: func(ctx context.Context) (trial, error) {
			return l.peer(ctx, database, "", l.dump(schemaOfWall))
		}},
		{name: nameCopy, run: func(ctx context.Context) (trial, error) {
			c := command{l.tool("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"}
			for _, t := range []string{"pgbench_accounts", "documents", "events"} {
				c = append(c, "-c", "COPY "+schemaOfWall+"."+t+" TO STDOUT")
			}
			return l.peer(ctx, database, "", c)
		}},
	}
	for _, f := range []events.Format{events.FormatSQL, events.FormatTar, events.FormatCustom, events.FormatDirectory} {
		for _, c := range []events.Compression{events.CompressionNone, events.CompressionGzip, events.CompressionZstd} {
			all = append(all, l.ours(fmt.Sprintf("pgcourier %s %s", f, c), events.Requested{ProjectID: database, Format: f, Compression: c}, "", false))
		}
	}
	standard := events.Requested{ProjectID: database}
	all = append(all,
		l.ours(oursAge, standard, "", true),
		l.ours(oursS3, standard, "s3", false),
		l.ours(oursTelegram, standard, "telegram", true))
	return append(all, l.peers(database)...)
}

// ours measures one request on a fresh worker that has exported a tiny project before, so that its
// connections exist, as in a worker that has run for a while.
func (l *lab) ours(name string, r events.Requested, server string, encrypted bool) variant {
	return variant{name: name, run: func(ctx context.Context) (t trial, err error) {
		settings := []string{"TIMEOUT=2h"}
		if server != "" {
			own, p, err := l.testServer(ctx, server)
			if err != nil {
				return t, err
			}
			defer func() { err = errors.Join(err, p.end()) }()
			settings = append(settings, own...)
		}
		if encrypted {
			key, err := recipient()
			if err != nil {
				return t, err
			}
			settings = append(settings, "AGE_RECIPIENTS="+key)
		}
		w, err := l.startWorker(ctx, settings...)
		if err != nil {
			return t, err
		}
		defer func() { err = errors.Join(err, w.close()) }()
		if _, _, _, err := w.ask(ctx, events.Requested{ProjectID: tinyOf(r.ProjectID)}); err != nil {
			return t, err
		}
		l.settle()
		var c *events.Completed
		var took time.Duration
		t, err = l.observed(func() []int { return []int{w.pid()} }, w.tmp, w.storage, func() error {
			c, _, took, err = w.ask(ctx, r)
			return err
		})
		if err != nil {
			return t, err
		}
		t.Wall, t.Service = took.Seconds(), c.FinishedAt.Sub(c.StartedAt).Seconds()
		t.Output = c.StoredBytes
		return t, nil
	}}
}

// processorNote explains the columns of processor time.
const processorNote = "Processor seconds, in user and system mode, are those of the client's side, pg_dump's after the plus sign: of the worker and its pg_dump, " +
	"or of a pipeline's other processes and its pg_dump; the server's own are in the next column. The column after it is the share of all processors that other " +
	"processes and the kernel had meanwhile: where it is not near to 0, seconds of the clock and ratios of them are not to be trusted. "

// processorText writes what the worker or the compressor took, and pg_dump.
func processorText(trials []trial) string {
	return fmt.Sprintf("%.2f + %.2f", over(pick(trials, restOf)).Median, over(pick(trials, dumpOf)).Median)
}

func wallTable(variants []variant, found map[string][]trial, size int64) table {
	t := table{head: []string{
		"about " + humanize.Bytes(uint64(size)), "seconds", "to the floor", "processor, s", "of the server, s", "of others", "memory, MiB", "temporary, MiB", "stored, MiB", //nolint:gosec // not negative
	}}
	floor := pick(found[nameFloor], wallOf)
	for _, v := range variants {
		trials := found[v.name]
		if len(trials) == 0 {
			continue
		}
		seconds := over(pick(trials, wallOf)).text(2)
		memory := over(pick(trials, memoryOf)).text(0)
		if trials[0].Service > 0 {
			seconds += fmt.Sprintf(" [%.2f]", over(pick(trials, serviceOf)).Median)
			memory += fmt.Sprintf(" + %.0f", over(pick(trials, childrenOf)).Median)
		}
		stored := "/dev/null"
		if trials[0].Output > 0 {
			stored = fmt.Sprintf("%.1f", over(pick(trials, outputOf)).Median)
		}
		t.add(shown(v.name), seconds, ratio(pick(trials, wallOf), floor).text(2), processorText(trials),
			fmt.Sprintf("%.2f", over(pick(trials, serverOf)).Median), fmt.Sprintf("%.0f %%", over(pick(trials, othersOf)).Median), memory, fmt.Sprintf("%.0f", over(pick(trials, spooledOf)).Max), stored)
	}
	return t
}

// shown returns a variant's name in a table: a peer's is a command, ours names the request.
func shown(name string) string {
	if strings.HasPrefix(name, "pgcourier ") || name == nameCounts {
		return name
	}
	return "`" + strings.ReplaceAll(name, "|", "\\|") + "`"
}

// wallFigures returns the ratios with a promise.
func wallFigures(found map[string][]trial) []figure {
	toFloor := func(name string) stat { return ratio(pick(found[name], wallOf), pick(found[nameFloor], wallOf)) }
	peak := func(name string, of func(trial) float64) stat { return over(pick(found[name], of)) }
	plainest := func() []trial { return slices.Concat(found[oursPlain], found[oursGzip], found[oursZstd]) }
	all := []figure{
		{Name: "none_to_floor", Text: "sql, no compression, to the floor", Value: toFloor(oursPlain), Kind: atMost, Limit: 1.05},
		{Name: "gzip_to_floor", Text: "sql, gzip (the default), to the floor", Value: toFloor(oursGzip), Kind: atMost, Limit: 1.25},
		{Name: "zstd_to_floor", Text: "sql, zstd, to the floor", Value: toFloor(oursZstd), Kind: atMost, Limit: 1.30},
		{Name: "pg_dump_gzip_to_ours", Text: "`pg_dump \\| gzip` to ours with gzip", Value: ratio(pick(found[peerGzip], wallOf), pick(found[oursGzip], wallOf)), Kind: atLeast, Limit: 2.3},
		{Name: "node_to_ours", Text: "Node's pipe to ours with gzip", Value: ratio(pick(found[peerNode], wallOf), pick(found[oursGzip], wallOf)), Kind: atLeast, Limit: 2.3},
		{Name: "encryption", Text: "encrypted to not encrypted, gzip", Value: ratio(pick(found[oursAge], wallOf), pick(found[oursGzip], wallOf)), Kind: atMost, Limit: 1.05},
		{Name: "parallel_to_floor", Text: "directory, no compression, to the floor", Value: toFloor(oursParallel), Kind: atMost, Limit: 0.85},
		{Name: "memory_sql", Text: "peak memory of the worker, sql to disk (the most of all)", Value: most(plainest(), memoryOf), Unit: "MiB", Kind: atMost, Limit: 64},
		{Name: "memory_s3", Text: "peak memory of the worker, to S3", Value: most(found[oursS3], memoryOf), Unit: "MiB", Kind: atMost, Limit: 96},
		{Name: "memory_telegram", Text: "peak memory of the worker, to Telegram", Value: most(found[oursTelegram], memoryOf), Unit: "MiB", Kind: atMost, Limit: 96},
		{Name: "temporary", Text: "temporary bytes, sql to disk, S3 and Telegram", Unit: "MiB", Kind: atMost, Limit: 0,
			Value: most(slices.Concat(plainest(), found[oursS3], found[oursTelegram]), spooledOf)},
		{Name: "directory_to_pg_dump", Text: "directory, no compression, to `" + peerDirectory + "`", Value: ratio(pick(found[oursParallel], wallOf), pick(found[peerDirectory], wallOf))},
		{Name: "pg_dump_directory_to_floor", Text: "`" + peerDirectory + "` to the floor", Value: toFloor(peerDirectory)},
		{Name: "copy_to_floor", Text: "COPY of the tables to the floor", Value: toFloor(nameCopy)},
		{Name: "gzip_seconds", Text: "sql, gzip", Value: peak(oursGzip, wallOf), Unit: "s"},
		{Name: "floor_seconds", Text: "the floor", Value: peak(nameFloor, wallOf), Unit: "s"},
	}
	for i := range all {
		all[i] = all[i].judged()
	}
	return all
}

// most returns the largest value, for a limit on a peak.
func most(trials []trial, of func(trial) float64) stat {
	s := over(pick(trials, of))
	s.Median = s.Max
	return s
}
