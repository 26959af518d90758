package pgdump_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/faketool"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// street is a database of n tenants: one, two and so on.
func street(t *testing.T, n int) string {
	t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `CREATE SCHEMA "t%[1]d"; CREATE TABLE "t%[1]d".a (id serial PRIMARY KEY, x text);
INSERT INTO "t%[1]d".a (x) SELECT 'tenant %[1]d' FROM generate_series(0, %[1]d);
CREATE VIEW "t%[1]d".v AS SELECT x FROM "t%[1]d".a;`, i)
	}
	return database(t, cluster, b.String())
}

// ending is the result of one member.
type ending struct {
	grouped bool
	text    string
	rows    map[export.Table]int64
	info    export.DumpInfo
	err     error
}

// groups is a GroupDumper with defaults for the tests. It waits for a member without a limit.
func groups(t *testing.T, c pgdump.Config, g pgdump.GroupConfig) *pgdump.GroupDumper {
	t.Helper()
	g.Dumper = dumper(t, c)
	g.Wait = cmp.Or(g.Wait, time.Hour)
	out, err := pgdump.NewGroupDumper(g)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// dumpAs opens a dump as a member and reads it to its end.
func dumpAs(ctx context.Context, g *pgdump.Member, j export.DumpJob) ending {
	return dumpOpened(ctx, g, j, func(export.Dump) {})
}

// dumpOpened is dumpAs that calls opened before the first read.
func dumpOpened(ctx context.Context, g *pgdump.Member, j export.DumpJob, opened func(export.Dump)) (e ending) {
	d, err := g.Open(ctx, j)
	if err != nil {
		return ending{err: err}
	}
	opened(d)
	defer func() { e.err = errors.Join(e.err, d.Close()) }()
	b, err := io.ReadAll(d)
	e = ending{grouped: pgdump.Grouped(d), text: string(b), info: d.Info(), err: err}
	if err == nil {
		e.rows, e.err = d.Rows(ctx)
	}
	return e
}

// together dumps all jobs as members of one group, at once.
func together(t *testing.T, g *pgdump.GroupDumper, jobs ...export.DumpJob) []ending {
	t.Helper()
	return togetherOpened(t, g, func(int, export.Dump) {}, jobs...)
}

// togetherOpened is together that calls opened before the first read of each dump.
func togetherOpened(t *testing.T, g *pgdump.GroupDumper, opened func(int, export.Dump), jobs ...export.DumpJob) []ending {
	t.Helper()
	out := make([]ending, len(jobs))
	var all sync.WaitGroup
	for i, m := range g.NewGroup(jobs[0].Project.GroupKey(), len(jobs)) {
		all.Go(func() { out[i] = dumpOpened(t.Context(), m, jobs[i], func(d export.Dump) { opened(i, d) }) })
	}
	all.Wait()
	if left := pgdump.SpoolLeft(g); left != pgdump.SpoolCap(g) {
		t.Errorf("the spools hold %d bytes after the last was closed", pgdump.SpoolCap(g)-left)
	}
	return out
}

// whole checks a member's dump as the use case does.
func whole(t *testing.T, name string, f export.Format, e ending, grouped bool) {
	t.Helper()
	if e.err != nil || e.grouped != grouped {
		t.Errorf("%s: error %v, grouped %t; want grouped %t", name, e.err, e.grouped, grouped)
		return
	}
	c, err := archive.Check(strings.NewReader(e.text), f)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if !maps.Equal(c.Tables, e.rows) {
		t.Errorf("%s: in the stream %v, counted %v", name, c.Tables, e.rows)
	}
}

// key is the difference between two dumps of the same content.
var key = regexp.MustCompile(`(?m)^\\(un)?restrict \w+$`)

func TestAGroupsDumpsAreTheSingleOnes(t *testing.T) {
	t.Parallel()
	dsn := street(t, 12)
	execute(t, dsn, `CREATE SCHEMA other; CREATE TABLE other.t (a int PRIMARY KEY);
ALTER TABLE t3.a ADD FOREIGN KEY (id) REFERENCES other.t NOT VALID; CREATE TYPE other.kind AS ENUM ('a'); ALTER TABLE t4.a ADD k other.kind`)
	execute(t, dsn, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = 5120', current_database()); END $$`)
	var jobs []export.DumpJob
	for i := range 12 {
		f := export.SQL
		if i%3 == 2 {
			f = export.Custom
		}
		jobs = append(jobs, job(dsn, f, fmt.Sprintf("t%d", i)))
	}
	jobs[0].Schemas = []string{"t0", "t1"}
	jobs[1] = job(dsn, export.SQL, "other")
	for i, e := range together(t, groups(t, pgdump.Config{}, pgdump.GroupConfig{}), jobs...) {
		name := fmt.Sprint(jobs[i].Schemas)
		grouped := i != 1 && i != 3 && i != 4 // these refer to each other
		whole(t, name, jobs[i].Format, e, grouped)
		own := open(t, pgdump.Config{}, jobs[i])
		want, err := io.ReadAll(own)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := own.Rows(t.Context())
		if err != nil || !maps.Equal(rows, e.rows) {
			t.Errorf("%s: %v, %v, alone %v", name, e.rows, err, rows)
		}
		if got, want := fmt.Sprintf("%+v", e.info), fmt.Sprintf("%+v", own.Info()); grouped && got != want {
			t.Errorf("%s: info %s, alone %s", name, got, want)
		}
		if jobs[i].Format == export.SQL && key.ReplaceAllString(e.text, "") != key.ReplaceAllString(string(want), "") {
			t.Errorf("%s: the script differs from that of its own dump", name)
		}
	}
}

// A member that cannot be dumped with the others is dumped alone. If it fails, only it fails.
func TestAFaultOfAMemberFailsThatMemberOnly(t *testing.T) {
	t.Parallel()
	dsn := street(t, 9)
	execute(t, dsn, `INSERT INTO t5.a (x) SELECT repeat('x', 1000) FROM generate_series(1, 1000)`)
	holder := connect(t, dsn)
	if _, err := holder.Exec(t.Context(), "BEGIN; LOCK TABLE t2.a IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	jobs := []export.DumpJob{
		job(dsn, export.SQL, "t0"),
		job(dsn, export.SQL, "missing"),
		job(dsn, export.Custom, "t2"), // locked
		job(dsn, export.Tar, "t3"),
		job(dsn, export.Custom, "t4"),
		job(dsn, export.SQL, "t5"), // too large
		job(dsn, export.SQL, "t6"),
		job(dsn, export.SQL, "t6"), // again
		job(dsn, export.SQL, "pg_catalog"),
		job(dsn, export.SQL, "t7"), // under a role of its own
		job(cluster.URL("nowhere"), export.SQL, "t0"),
	}
	jobs[9].Project.Role = "pg_monitor"
	config := pgdump.Config{LockWaitTimeout: 300 * time.Millisecond, Stall: time.Minute}
	got := together(t, groups(t, config, pgdump.GroupConfig{MemberBytes: 512 << 10}), jobs...)
	// Of two requests for the same, the first one is dumped with the others.
	for i, grouped := range map[int]bool{0: true, 3: false, 4: true, 5: false, 6: got[6].grouped, 7: !got[6].grouped} {
		whole(t, fmt.Sprint(i, jobs[i].Schemas), jobs[i].Format, got[i], grouped)
	}
	for i, code := range map[int]codes.Code{
		1: codes.SchemaNotFound, 2: codes.LockTimeout, 8: codes.SchemaNotAllowed, 9: codes.SourceForbidden, 10: codes.SourceNotFound,
	} {
		fault(t, got[i].err, code)
	}
	noSessionIsLeft(t, dsn)
}

// If the group's dump fails, for any reason, each member is dumped alone.
func TestAFailedGroupIsDumpedOneByOne(t *testing.T) {
	t.Parallel()
	dsn := street(t, 3)
	jobs := []export.DumpJob{job(dsn, export.SQL, "t0"), job(dsn, export.SQL, "t1"), job(dsn, export.Custom, "t2")}
	const several = `case "$*" in *--schema=*--schema=*) `
	for name, c := range map[string]struct {
		pgDump    string // its behaviour for several schemas; empty: the real one
		pgRestore string
		groups    pgdump.GroupConfig
	}{
		"the spool is full":            {groups: pgdump.GroupConfig{SpoolBytes: 1000}},
		"pg_dump fails":                {pgDump: `echo PGDMP; echo words >&2; exit 1`},
		"pg_dump writes something":     {pgDump: `echo PGDMP; exit 0`},
		"pg_dump writes half":          {pgDump: `"$real" "$@" | head -c 3000; exit 0`},
		"pg_dump writes all and fails": {pgDump: `"$real" "$@"; exit 1`},
		"pg_dump adds large objects":   {pgDump: `"$real" --blobs "$@"; exit`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			execute(t, dsn, "SELECT lo_create(0)")
			config := pgdump.Config{}
			if c.pgDump != "" {
				config.BinDirs = []string{wrapper(t, several+c.pgDump+";; esac")}
			}
			for i, e := range together(t, groups(t, config, c.groups), jobs...) {
				whole(t, fmt.Sprint(jobs[i].Schemas), jobs[i].Format, e, false)
			}
		})
	}
}

// wrapper makes a folder with the real tools, of which pg_dump first runs a given script.
func wrapper(t *testing.T, body string) string {
	t.Helper()
	tool := filepath.Join(cluster.BinDir, "pg_dump")
	dir := script(t, tool+" --version", fmt.Sprintf("real=%s\n%s\nexec %s \"$@\"", tool, body, tool))
	if err := os.Symlink(filepath.Join(cluster.BinDir, "pg_restore"), filepath.Join(dir, "pg_restore")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// If a pg_restore fails, its own member's dump fails, and never ends as if it were complete.
func TestPgRestoreThatMisbehaves(t *testing.T) {
	t.Parallel()
	dsn := street(t, 2)
	for name, body := range map[string]string{
		"writes half and exits 1":  `echo half; exit 1`,
		"takes half and exits 0":   `head -c 100 >/dev/null; echo half; exit 0`,
		"writes nothing":           `cat >/dev/null; exit 0`,
		"is killed":                `echo half; kill -KILL $$`,
		"takes nothing and stays":  `exec sleep 1000`,
		"closes its output, stays": `exec >&-; exec sleep 1000`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.Symlink(filepath.Join(cluster.BinDir, "pg_dump"), filepath.Join(dir, "pg_dump")); err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = --version ] && exec %s --version\n%s\n", filepath.Join(cluster.BinDir, "pg_restore"), body)
			faketool.Install(t, filepath.Join(dir, "pg_restore"), text)
			config := pgdump.Config{BinDirs: []string{dir}, KillDelay: 100 * time.Millisecond}
			opened := func(i int, d export.Dump) {
				if i == 0 && strings.Contains(body, "sleep") {
					pgdump.Limit(d, time.Hour, 2*time.Second)
				}
			}
			jobs := []export.DumpJob{job(dsn, export.SQL, "t0"), job(dsn, export.Custom, "t1")}
			got := togetherOpened(t, groups(t, config, pgdump.GroupConfig{}), opened, jobs...)
			err := got[0].err
			if err == nil { // it exited 0, and the unread rest is still in the pipe
				_, err = archive.Check(strings.NewReader(got[0].text), export.SQL)
			} else {
				_, ok := errors.AsType[*export.Fault](err)
				if !ok {
					t.Errorf("error %v is no fault", err)
				}
			}
			if err == nil || !got[0].grouped {
				t.Errorf("the script: %v, grouped %t, want a failed dump of a group", err, got[0].grouped)
			}
			whole(t, "the archive", export.Custom, got[1], true)
		})
	}
}

// A member that leaves, ends or closes early does not affect the others.
func TestMembersThatLeave(t *testing.T) {
	t.Parallel()
	dsn := street(t, 6)
	g := groups(t, pgdump.Config{}, pgdump.GroupConfig{Open: 1, Wait: time.Minute})
	members := g.NewGroup(job(dsn, export.SQL).Project.GroupKey(), 6)
	ctx, cancel := context.WithCancelCause(t.Context())
	out := make([]ending, 6)
	var all sync.WaitGroup
	for _, i := range []int{0, 1} {
		all.Go(func() { out[i] = dumpAs(t.Context(), members[i], job(dsn, export.SQL, fmt.Sprintf("t%d", i))) })
	}
	all.Go(func() { out[2] = dumpAs(ctx, members[2], job(dsn, export.SQL, "t2")) }) // ended while it waits
	cancel(export.ErrSuperseded)
	all.Go(func() { // closed after some bytes
		d, err := members[3].Open(t.Context(), job(dsn, export.SQL, "t3"))
		if err == nil {
			_, _ = io.ReadFull(d, make([]byte, 10))
			err = errors.Join(d.Close(), d.Close())
			if _, again := io.Copy(io.Discard, d); again == nil {
				t.Error("a closed dump ended well")
			}
		}
		out[3].err = err
	})
	members[4].Leave()
	members[4].Leave()
	all.Go(func() { // ended while it is read
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		d, err := members[5].Open(ctx, job(dsn, export.Custom, "t5"))
		if err != nil {
			t.Error(err)
			return
		}
		cancel(export.ErrCancelled)
		_, out[5].err = io.Copy(io.Discard, d)
		_ = d.Close()
	})
	all.Wait()
	for _, i := range []int{0, 1} {
		whole(t, "a member that stays", export.SQL, out[i], true)
	}
	if !errors.Is(out[2].err, export.ErrSuperseded) || out[3].err != nil || !errors.Is(out[5].err, export.ErrCancelled) {
		t.Errorf("errors %v, %v, %v; want superseded, none, cancelled", out[2].err, out[3].err, out[5].err)
	}
	// A member that comes after the others left, or comes again, is dumped alone.
	whole(t, "late", export.SQL, dumpAs(t.Context(), members[4], job(dsn, export.SQL, "t4")), false)
	eventually(t, "the spool is given back", func() bool { return pgdump.SpoolLeft(g) == pgdump.SpoolCap(g) })
	noSessionIsLeft(t, dsn)
}

func TestAGroupDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	dsn := street(t, 2)
	g := groups(t, pgdump.Config{}, pgdump.GroupConfig{Wait: time.Second})
	members := g.NewGroup(job(dsn, export.SQL).Project.GroupKey(), 3) // one is missing
	var all sync.WaitGroup
	for i, m := range members[:2] {
		all.Go(func() {
			whole(t, "a member", export.SQL, dumpAs(t.Context(), m, job(dsn, export.SQL, fmt.Sprintf("t%d", i))), true)
		})
	}
	all.Wait()
}

// No member's next attempt knows the name of a group's sessions, and it still finds them.
func TestANewAttemptEndsTheGroupOfALostOne(t *testing.T) {
	t.Parallel()
	dsn := street(t, 2)
	execute(t, dsn, `INSERT INTO t1.a (x) SELECT repeat('x', 100000) FROM generate_series(1, 300)`) // 30 MB for pg_dump, little on disk
	full := filepath.Join(t.TempDir(), "full")
	if err := syscall.Mkfifo(full, 0o600); err != nil {
		t.Fatal(err)
	}
	// The pg_dump of the group writes to a reader that reads nothing.
	dir := wrapper(t, fmt.Sprintf(`case "$*" in *--schema=*--schema=*)
sleep 1000 <%[1]s & echo $! >%[1]s.reader; exec "$real" "$@" >%[1]s;; esac`, full))
	g := groups(t, pgdump.Config{BinDirs: []string{dir}}, pgdump.GroupConfig{})
	jobs := []export.DumpJob{job(dsn, export.Custom, "t0"), job(dsn, export.Custom, "t1")}
	out := make([]ending, len(jobs))
	var all sync.WaitGroup
	for i, m := range g.NewGroup(jobs[0].Project.GroupKey(), len(jobs)) {
		jobs[i].ID, jobs[i].Attempt = anyID(), 1
		all.Go(func() { out[i] = dumpAs(t.Context(), m, jobs[i]) })
	}
	conn := connect(t, dsn)
	eventually(t, "the group's pg_dump waits for its reader", func() bool {
		var waits bool
		err := conn.QueryRow(t.Context(), `SELECT count(*) > 0 FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'pgcourier dump%' AND wait_event = 'ClientWrite'`).Scan(&waits)
		if err != nil {
			t.Fatal(err)
		}
		return waits
	})
	var text log
	next := jobs[1]
	next.Attempt = 2
	d := open(t, pgdump.Config{Logger: slog.New(slog.NewTextHandler(&text, nil))}, next)
	if _, err := io.Copy(io.Discard, d); err != nil {
		t.Errorf("the second attempt: %v", err)
	}
	reader, err := os.ReadFile(full + ".reader")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(reader)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil { // pg_dump notices that its session has ended
		t.Fatal(err)
	}
	all.Wait()
	for i, e := range out { // the worker was not lost, and continues without the group
		whole(t, fmt.Sprint(jobs[i].Schemas), jobs[i].Format, e, false)
	}
	contains(t, "log", text.String(), "sessions of a lost attempt ended")
	contains(t, "log", text.String(), "sessions=2")
}

// When all members end, the group's pg_dump ends too.
func TestAGroupDumpEndsWithItsMembers(t *testing.T) {
	t.Parallel()
	dsn := street(t, 2)
	started := filepath.Join(t.TempDir(), "started")
	dir := wrapper(t, fmt.Sprintf("echo > %s; exec sleep 1000", started))
	var out log
	g := groups(t, pgdump.Config{BinDirs: []string{dir}, KillDelay: time.Second, Logger: slog.New(slog.NewTextHandler(&out, nil))}, pgdump.GroupConfig{})
	ctx, cancel := context.WithCancelCause(t.Context())
	var all sync.WaitGroup
	for i, m := range g.NewGroup(job(dsn, export.SQL).Project.GroupKey(), 2) {
		all.Go(func() {
			if e := dumpAs(ctx, m, job(dsn, export.SQL, fmt.Sprintf("t%d", i))); !errors.Is(e.err, export.ErrCancelled) {
				t.Errorf("error %v, want the cause", e.err)
			}
		})
	}
	eventually(t, "pg_dump runs", func() bool { _, err := os.Stat(started); return err == nil })
	cancel(export.ErrCancelled)
	all.Wait()
	noSessionIsLeft(t, dsn)
	if bytes.Contains([]byte(out.String()), []byte("given up")) {
		t.Errorf("log = %s", out.String())
	}
}

func TestGroupConfigurations(t *testing.T) {
	t.Parallel()
	d := dumper(t, pgdump.Config{})
	for name, c := range map[string]pgdump.GroupConfig{
		"no dumper":   {},
		"no folder":   {Dumper: d, Dir: "/nonexistent"},
		"a file":      {Dumper: d, Dir: "/etc/passwd"},
		"a bad bound": {Dumper: d, SpoolBytes: -1},
	} {
		if _, err := pgdump.NewGroupDumper(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
