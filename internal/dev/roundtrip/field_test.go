package roundtrip_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/restore/scratch"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/spool"
)

// A fieldCase is a file of testdata/field: what a source holds, and what has to become of its
// export. It begins with comments "-- key: value":
//
//	what      in a line, for docs/field.md
//	schemas   of the project, separated by spaces; default: app
//	formats   default: sql custom
//	outcome   default: completed. Else the code of the failure and a part of its message
//	warning   each that is expected, as a part of its text; others are faults
//	restore   "FLAGS => RESULT", once for each restore; default: "=> ok"
//	verify    result of a rehearsal; default: ok. "none": there is none. "unchecked" and a part of the
//	          list: ok, but for what cannot be tried there
//	uncounted tables that such a rehearsal cannot fill; default: none
//	prepared  RESULT of a restore on another server, after restore --prepare; default: ok
//	encoding  of the source's database; default: the server's
//
// FLAGS are clean, create-extensions, jobs, keep-going, no-transaction, encoding (the source's, for the
// restore's database, too), and target: the section target is run in the restore's database first. RESULT is ok, or the beginning of an error's kind and a part of its
// text: "refused", "occupied", "dependents", "jobs" or "incomplete". The source's SQL follows; then, after a line
// "-- [target]" or "-- [want]", what is run in the target before, and a query that has to
// return true in the target after a restore that is ok and a rehearsal's database is not asked.
type fieldCase struct {
	schemas  []string
	formats  []export.Format
	outcome  string
	warnings []string
	restores []string
	verify   string
	encoding string
	prepared string
	// uncounted are tables, as export.Table shows them.
	uncounted []string
	sql       map[string]string // by section; the source's has no name
}

func readFieldCase(t *testing.T, path string) fieldCase {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := fieldCase{sql: map[string]string{}}
	section, described := "", false
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "-- "), ": ")
		switch header := !described && strings.HasPrefix(line, "-- "); {
		case strings.HasPrefix(line, "-- ["):
			section, described = strings.Trim(strings.TrimSpace(line), "-[] "), true
		case !header || !ok:
			described = described || strings.TrimSpace(line) != ""
			c.sql[section] += line
		case key == "what":
		case key == "schemas":
			c.schemas = strings.Fields(value)
		case key == "formats":
			for _, f := range strings.Fields(value) {
				c.formats = append(c.formats, export.Format(f))
			}
		case key == "outcome":
			c.outcome = value
		case key == "warning":
			c.warnings = append(c.warnings, value)
		case key == "restore":
			c.restores = append(c.restores, value)
		case key == "verify":
			c.verify = value
		case key == "prepared":
			c.prepared = value
		case key == "uncounted":
			c.uncounted = strings.Split(value, ", ")
		case key == "encoding":
			c.encoding = value
		default:
			t.Fatalf("%s: unknown key %q", path, key)
		}
	}
	if len(c.schemas) == 0 {
		c.schemas = []string{"app"}
	}
	if len(c.formats) == 0 {
		c.formats = []export.Format{export.SQL, export.Custom}
	}
	if len(c.restores) == 0 {
		c.restores = []string{"=> ok"}
	}
	return c
}

// TestFieldCases runs every case: export, warnings, restores, one after restore --prepare,
// rehearsal.
func TestFieldCases(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/field/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d cases (%v)", len(files), err)
	}
	on, other := rehearsals(t), otherServer(t)
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".sql"), func(t *testing.T) {
			t.Parallel()
			c := readFieldCase(t, path)
			from := fieldDatabase(t, c.sql[""], c.encoding)
			for _, format := range c.formats {
				c.run(t, from, on, other, format)
			}
		})
	}
}

func (c fieldCase) run(t *testing.T, from string, on restore.Scratch, other server, format export.Format) {
	t.Helper()
	store := folder(t)
	out := c.export(t, store, cluster.URL(from), format)
	code, part, _ := strings.Cut(c.outcome, " ")
	if got := fmt.Sprint(out.State); code == "" && out.State != export.Completed || code != "" && (string(out.Code) != code || !strings.Contains(out.Message, part)) {
		t.Fatalf("%s: %s %s %s, want %q", format, got, out.Code, out.Message, c.outcome)
	}
	if out.State != export.Completed {
		return
	}
	for _, w := range c.warnings {
		if !slices.ContainsFunc(out.Artifact.Warnings, func(got string) bool { return strings.Contains(got, w) }) {
			t.Errorf("%s: the warning %q is missing in %q", format, w, out.Artifact.Warnings)
		}
	}
	if len(out.Artifact.Warnings) != len(c.warnings) {
		t.Errorf("%s: warnings %q, want %q", format, out.Artifact.Warnings, c.warnings)
	}
	x := stored(t, store, out.Artifact, format, "acme")
	for _, r := range c.restores {
		c.restore(t, x, fmt.Sprintf("%s, restore %s", format, r), r)
	}
	c.restorePrepared(t, cluster.URL(from), other, x, format)
	if c.verify == "none" {
		return
	}
	r, err := fieldRestorer(t).Rehearse(t.Context(), x, on, nil)
	what, want := fmt.Sprintf("%s, verify", format), c.verify
	if part, ok := strings.CutPrefix(want, "unchecked "); ok {
		want = "ok"
		if got := fmt.Sprint(r.Uncounted); got != fmt.Sprint(c.uncounted) {
			t.Errorf("%s: uncounted are %s, want %s", what, got, c.uncounted)
		}
		if len(r.Unchecked) == 0 || !strings.Contains(strings.Join(r.Unchecked, "; "), part) {
			t.Errorf("%s: unchecked is %q, want %q", what, r.Unchecked, part)
		}
	} else if len(r.Unchecked) > 0 {
		t.Errorf("%s: unchecked is %q", what, r.Unchecked)
	}
	checkResult(t, what, want, err)
}

// restore runs one line "FLAGS => RESULT".
func (c fieldCase) restore(t *testing.T, x restore.Export, what, line string) {
	t.Helper()
	flags, result, ok := strings.Cut(" "+line, "=> ")
	if !ok {
		t.Fatalf("%s: no result", what)
	}
	at, before, encoding := restore.Target{}, "", ""
	for _, f := range strings.Fields(flags) {
		switch f {
		case "clean":
			at.Clean = true
		case "create-extensions":
			at.CreateExtensions = true
		case "jobs":
			if f := x.Manifest.Artifact.Format; f == export.SQL || f == export.Tar {
				return
			}
			at.Jobs = 2
		case "keep-going":
			at.KeepGoing = true
		case "no-transaction":
			at.NoTransaction = true
		case "encoding":
			encoding = c.encoding
		case "target":
			before = c.sql["target"]
		default:
			t.Fatalf("%s: unknown flag %s", what, f)
		}
	}
	to := fieldDatabase(t, before, encoding)
	at.Source = source(t, to)
	_, err := fieldRestorer(t).Restore(t.Context(), x, at, nil)
	checkResult(t, what, result, err)
	_, incomplete := errors.AsType[*restore.IncompleteError](err)
	if want := strings.TrimSpace(c.sql["want"]); (err == nil || incomplete) && want != "" {
		var holds bool
		if err := queryRow(t.Context(), cluster.URL(to), want, &holds); err != nil || !holds {
			t.Errorf("%s: %s is %t (%v)", what, want, holds, err)
		}
	}
}

// checkResult compares an error with the case's result.
func checkResult(t *testing.T, what, want string, err error) {
	t.Helper()
	kind, part, _ := strings.Cut(strings.TrimSpace(want), " ")
	found := "ok"
	if err != nil {
		found = "another error"
	}
	if _, ok := errors.AsType[*restore.RejectedError](err); ok {
		found = "refused"
	}
	if _, ok := errors.AsType[*restore.DependentsError](err); ok {
		found = "dependents"
	}
	if _, ok := errors.AsType[*restore.IncompleteError](err); ok {
		found = "incomplete"
	}
	if errors.Is(err, restore.ErrOccupied) {
		found = "occupied"
	}
	if errors.Is(err, restore.ErrJobs) {
		found = "jobs"
	}
	if kind == "" {
		kind = "ok"
	}
	if found != kind || err != nil && !strings.Contains(err.Error(), part) {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

// export runs one request of the case's project.
func (c fieldCase) export(t *testing.T, store export.Store, dsn string, format export.Format) export.Outcome {
	t.Helper()
	area, err := spool.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dumper, err := pgdump.New(pgdump.Config{Spool: area, DefaultDSN: export.Secret(dsn), BinDirs: []string{cluster.BinDir}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := export.New(export.Config{
		Ledger: &granting{}, Projects: owning(c.schemas), Dumper: dumper, Store: store,
		Inspect: func(f export.Format) (export.Inspector, error) { return archive.NewChecker(f) },
		Log:     slog.New(slog.DiscardHandler),
	}).Run(t.Context(), export.Request{
		ID: export.ID{Project: "acme", Request: "r"}, Format: format, Compression: seal.Plain, Jobs: 2,
	}, delivery.Delivery{Last: true}, export.Group{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// owning is a control plane in which every project has these schemas.
type owning []string

func (o owning) Lookup(_ context.Context, id string) (export.Project, error) {
	return export.Project{ID: id, Name: id, Schemas: o}, nil
}

// createDatabase is a statement. encoding: empty for the server's.
func createDatabase(name, encoding string) string {
	statement := "CREATE DATABASE " + name + " TEMPLATE template0"
	if encoding != "" {
		statement += " LC_COLLATE 'C' LC_CTYPE 'C' ENCODING " + encoding
	}
	return statement
}

var fieldDatabases atomic.Int64

// fieldDatabase makes a database from template0 and runs sql in it, each statement by itself as
// psql does.
func fieldDatabase(t *testing.T, sql, encoding string) string {
	t.Helper()
	name := fmt.Sprintf("field_%d", fieldDatabases.Add(1))
	if err := cluster.execute(t.Context(), "postgres", createDatabase(name, encoding)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.execute(context.WithoutCancel(t.Context()), "postgres", "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	cmd, err := cluster.Client(t.Context(), name, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = strings.NewReader(sql)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return name
}

// rehearsals starts the server of the rehearsals, as verify --restore does.
func rehearsals(t *testing.T) restore.Scratch {
	t.Helper()
	server := scratch.NewServer("", nil, nil)
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	to, err := server.For(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func source(t *testing.T, database string) *libpq.Source {
	t.Helper()
	s, err := libpq.Parse(secret.String(cluster.URL(database)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fieldRestorer(t *testing.T) *restore.Restorer {
	t.Helper()
	return restore.New(restore.Config{BinDirs: []string{cluster.BinDir}, SpoolDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
}

func queryRow(ctx context.Context, dsn, sql string, into any) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	return errors.Join(conn.QueryRow(ctx, sql).Scan(into), conn.Close(ctx))
}
