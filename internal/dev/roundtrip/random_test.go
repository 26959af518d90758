package roundtrip_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/dev/randomschema"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/spool"
)

var (
	randomCases = flag.Int("random", 24, "how many random cases to compare with pg_dump; make random-schemas sets it")
	randomFrom  = flag.Uint64("random-from", 1, "the seed of the first random case")
)

// randomBatch is the number of cases that share a database. An extension is in one schema only, so
// no two cases of a batch may have the same.
const randomBatch = 20

// TestRandomSchemasAreExportedAsPgDumpDoes checks that an export is never worse than plain pg_dump
// at the same moment. Half of the cases are exported alone and half in a group. If pg_dump
// succeeds, the export must complete with the same script. If psql restores that script, our
// restore must make the same database.
func TestRandomSchemasAreExportedAsPgDumpDoes(t *testing.T) {
	t.Parallel()
	for _, role := range randomschema.Roles {
		if err := cluster.execute(t.Context(), "postgres", "CREATE ROLE "+randomschema.Ident(role)); err != nil {
			t.Fatal(err)
		}
	}
	total := &randomTally{refused: map[string]int{}}
	t.Cleanup(func() { t.Log(total.String()) })
	last := *randomFrom + uint64(*randomCases)
	for from := *randomFrom; from < last; from += randomBatch {
		t.Run(fmt.Sprintf("from %d", from), func(t *testing.T) {
			t.Parallel()
			b := &batch{tally: total, name: fmt.Sprintf("random_%d", from)}
			for seed := from; seed < min(from+randomBatch, last); seed++ {
				b.cases = append(b.cases, &randomCase{Case: randomschema.New(seed)})
			}
			b.run(t)
		})
	}
}

// randomCase is a case and its results.
type randomCase struct {
	randomschema.Case
	plain    []byte // pg_dump's script; nil: it failed
	failure  string // pg_dump's stderr
	differed bool
}

// alone reports whether the case is exported by itself, and not in a group. Cases of all kinds,
// also those with an extension, are exported in both ways.
func (c *randomCase) alone() bool { return c.Seed/2%2 == 0 }

func (c *randomCase) format() export.Format {
	if !c.alone() {
		return []export.Format{export.Custom, export.SQL, export.SQL}[c.Seed%3]
	}
	return []export.Format{export.SQL, export.Custom, export.Directory, export.SQL, export.Tar}[c.Seed%5]
}

func (c *randomCase) request() export.Request {
	return export.Request{
		ID: export.ID{Project: fmt.Sprintf("seed-%d", c.Seed), Request: "r"}, Format: c.format(), Compression: seal.Plain, Jobs: 2,
	}
}

// batch is the cases of one database.
type batch struct {
	name  string // of the source; the restores' are derived
	cases []*randomCase
	tally *randomTally
}

func (b *batch) differ(t *testing.T, c *randomCase, format string, args ...any) {
	t.Helper()
	if !c.differed {
		c.differed = true
		b.tally.add(func() { b.tally.differing++ })
	}
	t.Errorf("seed %d (make random-schemas FROM=%d N=1): %s", c.Seed, c.Seed, fmt.Sprintf(format, args...))
}

func (b *batch) run(t *testing.T) {
	for _, database := range []string{b.name, b.name + "_plain", b.name + "_ours"} {
		if err := cluster.execute(t.Context(), "postgres", "CREATE DATABASE "+database+" TEMPLATE template0"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			report(t, cluster.execute(context.WithoutCancel(t.Context()), "postgres", "DROP DATABASE "+database+" WITH (FORCE)"))
		})
		if err := cluster.execute(t.Context(), database, strings.Join(randomschema.Prelude, ";")); err != nil {
			t.Fatal(err)
		}
	}
	b.fill(t)
	area, err := spool.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dumper, err := pgdump.New(pgdump.Config{
		Spool: area, DefaultDSN: export.Secret(cluster.URL(b.name)), BinDirs: []string{cluster.clients}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range b.cases {
		b.dumpPlain(t, c)
		if c.alone() {
			store := &memory{}
			out, err := exporter(c, dumper, store).Run(t.Context(), c.request(), delivery.Delivery{Last: true}, export.Group{})
			b.compare(t, c, store, out, err)
		}
	}
	b.group(t, dumper)
	b.compareRestored(t)
}

// fill makes the cases' schemas.
func (b *batch) fill(t *testing.T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), cluster.URL(b.name))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { report(t, conn.Close(context.WithoutCancel(t.Context()))) }()
	for _, c := range b.cases {
		made, refused := 0, []string{}
		for _, statement := range append([]string{"RESET ALL"}, c.Statements...) {
			_, err := conn.PgConn().Exec(t.Context(), statement).ReadAll()
			if said, ok := errors.AsType[*pgconn.PgError](err); ok {
				refused = append(refused, strings.Join(strings.Fields(statement)[:2], " ")+" "+said.Code)
				if testing.Verbose() && *randomCases == 1 {
					t.Logf("refused: %s: %s", statement, said.Message)
				}
				continue
			}
			if err != nil {
				t.Fatalf("seed %d: %v", c.Seed, err)
			}
			made++
		}
		b.tally.add(func() {
			b.tally.cases++
			b.tally.statements += made
			if c.Extension != "" {
				b.tally.extension++
			}
			for _, words := range refused {
				b.tally.refused[words]++
			}
		})
	}
}

// dumpPlain runs pg_dump as a user would. An export has no owners and rights, by design.
func (b *batch) dumpPlain(t *testing.T, c *randomCase) {
	t.Helper()
	args := []string{"--no-owner", "--no-acl", "--no-tablespaces"}
	for _, s := range c.Schemas {
		args = append(args, "--schema="+randomschema.Ident(s))
	}
	cmd, err := cluster.client(t.Context(), b.name, "pg_dump", args...)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		c.failure = fmt.Sprintf("%v: %s", err, stderr.String())
		b.tally.add(func() { b.tally.notDumped++ })
		return
	}
	c.plain = withoutKeys(stdout.Bytes())
}

var restrictKey = regexp.MustCompile(`(?m)^\\(un)?restrict \S+$`)

// withoutKeys removes the random key from a script: two lines, before and after all others.
func withoutKeys(script []byte) []byte {
	keys := restrictKey.FindAllIndex(script, -1)
	if len(keys) < 2 {
		return script
	}
	first, last := keys[0], keys[len(keys)-1]
	return slices.Concat(script[:first[0]], script[first[1]:last[0]], script[last[1]:])
}

// compare compares an export with pg_dump's script and restores both.
func (b *batch) compare(t *testing.T, c *randomCase, store *memory, out export.Outcome, err error) {
	t.Helper()
	if !b.same(t, c, store, out, err) || !b.restorePlain(t, c) {
		return
	}
	b.tally.add(func() { b.tally.restored++ })
	x := restore.Export{Manifest: store.manifest, Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(store.data)), nil
	}}
	_, err = fieldRestorer(t).Restore(t.Context(), x, restore.Target{Source: source(t, b.name+"_ours"), CreateExtensions: c.Extension != ""}, nil)
	if err != nil {
		b.differ(t, c, "%s: psql restores what pg_dump wrote, ours says: %v", c.format(), err)
		return
	}
	if *randomPlace {
		b.place(t, c, x)
	}
}

func exporter(c *randomCase, dumper export.Dumper, store export.Store) *export.Exporter {
	return export.New(export.Config{
		Ledger: &granting{}, Projects: owning(c.Schemas), Dumper: dumper, Store: store,
		Inspect: func(f export.Format) (export.Inspector, error) { return archive.NewChecker(f) },
		Log:     slog.New(slog.DiscardHandler),
	})
}

// same reports whether an export is there and has pg_dump's script.
func (b *batch) same(t *testing.T, c *randomCase, store *memory, out export.Outcome, err error) bool {
	t.Helper()
	f := c.format()
	switch {
	case err != nil:
		b.differ(t, c, "%s: %v", f, err)
		return false
	case c.plain == nil && out.State == export.Completed:
		b.differ(t, c, "%s: completed, and pg_dump: %s", f, c.failure)
		return false
	case c.plain == nil:
		return false
	case out.Code == codes.ScriptUnreadable: // pg_dump succeeds, and its script cannot be restored
		if b.restorePlain(t, c) {
			b.differ(t, c, "%s: %s, and psql reads it", f, out.Message)
		}
		b.tally.add(func() { b.tally.unreadable++ })
		return false
	case out.State != export.Completed:
		b.differ(t, c, "%s: %s %s, and pg_dump succeeds", f, out.Code, out.Message)
		return false
	}
	got := store.data
	if f != export.SQL {
		script := t.TempDir() + "/script"
		if err := cluster.writeScript(t.Context(), script, f, bytes.NewReader(store.data)); err != nil {
			b.differ(t, c, "%s: %v", f, err)
			return false
		}
		if got, err = os.ReadFile(script); err != nil {
			t.Fatal(err)
		}
	}
	if got = withoutKeys(got); !bytes.Equal(got, c.plain) {
		b.differ(t, c, "%s: the script differs: %s", f, firstDifference(c.plain, got))
		return false
	}
	return true
}

// restorePlain reports whether psql restores pg_dump's script.
func (b *batch) restorePlain(t *testing.T, c *randomCase) bool {
	t.Helper()
	script := c.plain
	if c.Extension != "" { // it must exist before, with its schema
		name := c.Schemas[0]
		for _, quoted := range []string{name, randomschema.Ident(name)} {
			script = bytes.Replace(script, []byte("\nCREATE SCHEMA "+quoted+";\n"), []byte("\n"), 1)
		}
		prepare := fmt.Sprintf("CREATE SCHEMA %s; CREATE EXTENSION %s SCHEMA %[1]s", randomschema.Ident(name), randomschema.Ident(c.Extension))
		if err := cluster.execute(t.Context(), b.name+"_plain", prepare); err != nil {
			t.Fatal(err)
		}
	}
	err := cluster.feed(t.Context(), b.name+"_plain", export.SQL, bytes.NewReader(script))
	if err != nil && c.Extension != "" { // the schema that was prepared; our dump has none
		if err := cluster.execute(t.Context(), b.name+"_plain", "DROP SCHEMA "+randomschema.Ident(c.Schemas[0])+" CASCADE"); err != nil {
			t.Fatal(err)
		}
	}
	if err != nil && testing.Verbose() && *randomCases == 1 {
		t.Logf("seed %d is not restored by psql: %v", c.Seed, err)
	}
	return err == nil
}

// group exports cases with one pg_dump, as workers do with small projects that wait.
func (b *batch) group(t *testing.T, dumper *pgdump.Dumper) {
	t.Helper()
	groups, err := pgdump.NewGroupDumper(pgdump.GroupConfig{Dumper: dumper, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	cases := slices.DeleteFunc(slices.Clone(b.cases), (*randomCase).alone)
	var wait sync.WaitGroup
	stores := make([]memory, len(cases))
	outcomes, errs := make([]export.Outcome, len(cases)), make([]error, len(cases))
	for i, m := range groups.NewGroup(export.GroupKey{}, len(cases)) {
		wait.Go(func() {
			outcomes[i], errs[i] = exporter(cases[i], dumper, &stores[i]).
				Run(t.Context(), cases[i].request(), delivery.Delivery{Last: true}, export.Group{Member: m})
		})
	}
	wait.Wait()
	for i, c := range cases {
		b.compare(t, c, &stores[i], outcomes[i], errs[i])
	}
}

// compareRestored compares the databases that psql and our restore have made: pg_dump of both is
// the same.
func (b *batch) compareRestored(t *testing.T) {
	t.Helper()
	if *randomPlace {
		if err := cluster.execute(t.Context(), b.name+"_ours", "DROP SCHEMA IF EXISTS pgcourier_restore CASCADE"); err != nil {
			t.Fatal(err)
		}
	}
	var scripts [2][]byte
	for i, database := range []string{b.name + "_plain", b.name + "_ours"} {
		cmd, err := cluster.client(t.Context(), database, "pg_dump", "--no-owner", "--no-acl")
		if err != nil {
			t.Fatal(err)
		}
		if scripts[i], err = cmd.Output(); err != nil {
			t.Fatal(err)
		}
		scripts[i] = withoutKeys(scripts[i])
	}
	for _, c := range b.cases {
		if c.differed { // it is in one of the two only
			return
		}
	}
	if !bytes.Equal(scripts[0], scripts[1]) {
		b.tally.add(func() { b.tally.differing++ })
		t.Errorf("seeds %d to %d: restored by psql and by us the databases differ: %s",
			b.cases[0].Seed, b.cases[len(b.cases)-1].Seed, firstDifference(scripts[0], scripts[1]))
	}
}
