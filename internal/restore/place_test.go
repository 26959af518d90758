package restore_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// shopSQL is the source of the tests of placements: tables with everything that belongs to a table.
const shopSQL = `
CREATE SCHEMA tenant;
CREATE TYPE tenant.state AS ENUM ('new', 'paid');
CREATE FUNCTION tenant.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.note := upper(NEW.note); RETURN NEW; END';
CREATE TABLE tenant.people (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE tenant.orders (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, person bigint REFERENCES tenant.people, state tenant.state DEFAULT 'new',
  note text CHECK (note <> 'x'), twice int GENERATED ALWAYS AS (2) STORED, "odd "" ON x" text);
COMMENT ON TABLE tenant.orders IS 'of tenant';
COMMENT ON COLUMN tenant.orders.note IS 'a note';
CREATE INDEX by_note ON tenant.orders (lower(note)) WHERE note IS NOT NULL;
CREATE UNIQUE INDEX "odd "" ON y" ON tenant.orders ("odd "" ON x");
COMMENT ON INDEX tenant.by_note IS 'an index';
CREATE STATISTICS tenant.both ON person, note FROM tenant.orders;
CREATE TABLE tenant.parts (id int, kind text) PARTITION BY LIST (kind);
CREATE TABLE tenant.parts_a PARTITION OF tenant.parts FOR VALUES IN ('a');
CREATE TABLE tenant.parts_b PARTITION OF tenant.parts FOR VALUES IN ('b');
CREATE INDEX parts_id ON tenant.parts (id);
INSERT INTO tenant.people (name) SELECT 'person ' || i FROM generate_series(1, 20) i;
INSERT INTO tenant.orders (person, note) SELECT i % 20 + 1, E'note \\ \t' || i FROM generate_series(1, 200) i;
INSERT INTO tenant.parts SELECT i, CASE WHEN i % 3 = 0 THEN 'a' ELSE 'b' END FROM generate_series(1, 90) i;
CREATE TRIGGER touch BEFORE UPDATE OF note ON tenant.orders FOR EACH ROW EXECUTE FUNCTION tenant.touch();
COMMENT ON TRIGGER touch ON tenant.orders IS 'a trigger';
ALTER TABLE tenant.orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON tenant.orders USING (person > 0);
CREATE FUNCTION tenant.total() RETURNS bigint LANGUAGE sql SET search_path = tenant AS 'SELECT count(*) FROM tenant.orders';
CREATE MATERIALIZED VIEW tenant.counted AS SELECT count(*) FROM tenant.parts;`

// placement returns a placement into a database of the cluster.
func placement(t *testing.T, database, id string, mode restore.Mode) restore.Placement {
	t.Helper()
	return restore.Placement{ID: id, Source: target(t, database).Source, Mode: mode, Keep: time.Hour}
}

// role makes a role of the cluster and returns its name.
func role(t *testing.T, options string) string {
	t.Helper()
	name := fmt.Sprintf("r%d", databases.Add(1))
	execute(t, "postgres", "CREATE ROLE "+name+" "+options)
	return name
}

// read returns the contents of schemas in a database.
func read(t *testing.T, database string, schemas ...string) map[string]contents.Table {
	t.Helper()
	conn := connect(t, database)
	found, err := contents.Read(t.Context(), conn, schemas)
	if err == nil {
		err = conn.Close(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var restrictKey = regexp.MustCompile(`(?m)^\\(un)?restrict .*$`)

// script returns the plain dump of a schema, which is the same for equal schemas.
func script(t *testing.T, database, schema string) string {
	t.Helper()
	return restrictKey.ReplaceAllString(string(dump(t, database, export.SQL, schema)), "")
}

func place(t *testing.T, r *restore.Restorer, x *stored, p restore.Placement) restore.Placed {
	t.Helper()
	placed, err := r.Place(t.Context(), x.Export, p, nil)
	if err != nil {
		t.Fatalf("%s %v: %v", p.Mode, p.Tables, err)
	}
	return placed
}

func TestEachModePlacesEachFormat(t *testing.T) {
	t.Parallel()
	from := database(t, shopSQL)
	want, ddl := read(t, from, "tenant"), script(t, from, "tenant")
	r := restorer(restore.Config{})
	for _, f := range formats {
		x := sealed(t, dump(t, from, f, "tenant"), kind{format: f, compression: seal.Plain}, "tenant")
		to, app, owner := database(t, ""), role(t, ""), role(t, "")
		first := placement(t, to, "first", restore.Create)
		first.Owner = owner
		placed := place(t, r, x, first)
		if diffs := contents.Compare(want, read(t, to, "tenant")); len(diffs) > 0 {
			t.Fatalf("%s: %v", f, diffs)
		}
		if placed.Rows() != 310 || len(placed.Tables) != 4 || placed.Tables[0].Hash != want["tenant.orders"].Hash {
			t.Errorf("%s: placed %+v", f, placed)
		}
		if n := value[int](t, to, "SELECT count(*) FROM pg_class WHERE relnamespace = 'tenant'::regnamespace AND relowner <> '"+owner+"'::regrole"); n != 0 {
			t.Errorf("%s: %d relations have another owner", f, n)
		}
		if n := value[int](t, to, "SELECT reltuples FROM pg_class WHERE oid = 'tenant.orders'::regclass"); n != 200 {
			t.Errorf("%s: the statistics say %d rows", f, n)
		}
		if _, err := r.Place(t.Context(), x.Export, placement(t, to, "other", restore.Create), nil); !errors.Is(err, restore.ErrOccupied) {
			t.Errorf("%s: into an occupied schema: %v", f, err)
		}
		// The same restore again is the same result.
		if again := place(t, r, x, first); !again.PlacedAt.Equal(placed.PlacedAt) {
			t.Errorf("%s: placed again: %+v", f, again)
		}
		execute(t, to, "DELETE FROM tenant.parts; GRANT USAGE ON SCHEMA tenant TO "+app+"; GRANT SELECT ON tenant.orders TO "+app+
			"; GRANT UPDATE (name) ON tenant.people TO "+app+"; ALTER DEFAULT PRIVILEGES IN SCHEMA tenant GRANT SELECT ON TABLES TO "+app)
		broken := read(t, to, "tenant")
		second := placement(t, to, "second", restore.Replace)
		second.Owner = first.Owner
		placed = place(t, r, x, second)
		if diffs := contents.Compare(want, read(t, to, "tenant")); len(diffs) > 0 {
			t.Errorf("%s: after replace: %v", f, diffs)
		}
		if got := script(t, to, "tenant"); got != ddl {
			t.Errorf("%s: other definitions:\n%s\nwant\n%s", f, got, ddl)
		}
		if len(placed.Kept) != 1 || len(placed.Remarks) > 0 {
			t.Fatalf("%s: placed %+v", f, placed)
		}
		kept := map[string]contents.Table{}
		for name, c := range read(t, to, placed.Kept[0]) {
			kept["tenant."+strings.SplitN(name, ".", 2)[1]] = c
		}
		if diffs := contents.Compare(broken, kept); len(diffs) > 0 {
			t.Errorf("%s: the kept schema: %v", f, diffs)
		}
		if ok := value[bool](t, to, "SELECT has_schema_privilege('"+app+"', 'tenant', 'USAGE') AND has_table_privilege('"+app+
			"', 'tenant.orders', 'SELECT') AND has_column_privilege('"+app+"', 'tenant.people', 'name', 'UPDATE') AND EXISTS (SELECT FROM pg_default_acl WHERE defaclnamespace = 'tenant'::regnamespace)"); !ok {
			t.Errorf("%s: the grants were not repeated", f)
		}
		src := target(t, to).Source
		if dropped, left, err := r.DropKept(t.Context(), src, always); err != nil || len(dropped) > 0 || !slices.Equal(left, placed.Kept) {
			t.Errorf("%s: dropped %v before the time, left %v, %v", f, dropped, left, err)
		}
		keptIsDue(t, to)
		// The target's clock alone drops nothing.
		early := func(k restore.Kept) bool {
			if !slices.Equal(k.Schemas, placed.Kept) || k.Until.IsZero() {
				t.Errorf("%s: asked about %+v, kept is %v", f, k, placed.Kept)
			}
			return false
		}
		if dropped, left, err := r.DropKept(t.Context(), src, early); err != nil || len(dropped) > 0 || !slices.Equal(left, placed.Kept) {
			t.Errorf("%s: dropped %v although it is not due, left %v, %v", f, dropped, left, err)
		}
		for _, want := range [][]string{placed.Kept, nil} {
			if dropped, left, err := r.DropKept(t.Context(), src, always); err != nil || !slices.Equal(dropped, want) || left == nil || len(left) > 0 {
				t.Errorf("%s: dropped %v, left %v, %v, want %v", f, dropped, left, err, want)
			}
		}
		if again, committed, err := r.Committed(t.Context(), src, "second"); err != nil || !committed || again.Rows() != 310 {
			t.Errorf("%s: committed %t %+v %v", f, committed, again, err)
		}
		if _, committed, err := r.Committed(t.Context(), src, "third"); err != nil || committed {
			t.Errorf("%s: committed %t %v", f, committed, err)
		}
	}
}

// always is due for all that is kept.
func always(restore.Kept) bool { return true }

// keptIsDue makes all kept schemas of a database due by its own clock.
func keptIsDue(t *testing.T, database string) {
	t.Helper()
	execute(t, database, "UPDATE pgcourier_restore.kept SET until = now()")
}

func TestSingleTablesArePlacedWithWhatBelongsToThem(t *testing.T) {
	t.Parallel()
	from := database(t, shopSQL)
	want, ddl := read(t, from, "tenant"), script(t, from, "tenant")
	r := restorer(restore.Config{})
	for _, f := range formats {
		x := sealed(t, dump(t, from, f, "tenant"), kind{format: f, compression: seal.Plain}, "tenant")
		to := database(t, shopSQL)
		keeper := role(t, "")
		execute(t, to, "GRANT USAGE, CREATE ON SCHEMA tenant TO "+keeper+"; ALTER TABLE tenant.orders OWNER TO "+keeper+
			"; ALTER TABLE tenant.parts OWNER TO "+keeper+"; ALTER TABLE tenant.parts_a OWNER TO "+keeper+"; ALTER TABLE tenant.parts_b OWNER TO "+keeper+
			"; GRANT REFERENCES, SELECT ON tenant.people TO "+keeper+"; DROP MATERIALIZED VIEW tenant.counted; UPDATE tenant.orders SET note = NULL; DELETE FROM tenant.parts WHERE id < 50; ALTER TABLE tenant.orders DROP COLUMN state")
		p := placement(t, to, "undo", restore.Replace)
		p.Tables = []string{"orders", "tenant.parts"}
		plan, err := r.Plan(t.Context(), x.Export, p, nil)
		if err != nil || len(plan.Aside) != 4 || len(plan.Tables) != 3 || plan.Rows != 290 || len(plan.Missing) > 0 {
			t.Fatalf("%s: plan %+v, %v", f, plan, err)
		}
		placed := place(t, r, x, p)
		if owner := value[string](t, to, "SELECT string_agg(DISTINCT relowner::regrole::text, '') FROM pg_class WHERE relname ~ '^(orders|parts)'"); owner != keeper {
			t.Errorf("%s: the tables belong to %s", f, owner)
		}
		execute(t, to, "CREATE MATERIALIZED VIEW tenant.counted AS SELECT count(*) FROM tenant.parts")
		if diffs := contents.Compare(want, read(t, to, "tenant")); len(diffs) > 0 || placed.Rows() != 290 {
			t.Errorf("%s: %v, %+v", f, diffs, placed)
		}
		if got := script(t, to, "tenant"); got != ddl {
			t.Errorf("%s: other definitions:\n%s\nwant\n%s", f, got, ddl)
		}
	}
	// What was moved aside refers to other tables, and does not keep them from being replaced.
	x := sealed(t, dump(t, from, export.SQL, "tenant"), kind{format: export.SQL, compression: seal.Plain}, "tenant")
	again := placement(t, from, "orders", restore.Replace)
	var last string
	for id, tables := range [][]string{{"orders"}, {"orders", "people"}, nil} {
		again.ID, again.Tables = fmt.Sprint("again ", id), tables
		last = place(t, r, x, again).Kept[0]
	}
	if diffs := contents.Compare(want, read(t, from, "tenant")); len(diffs) > 0 {
		t.Error(diffs)
	}
	keptIsDue(t, from)
	execute(t, from, `CREATE VIEW public.holds AS SELECT * FROM "`+last+`".orders`)
	// If the session ends at the second one, why the first one stays is told too.
	execute(t, from, `UPDATE pgcourier_restore.kept SET until = now() - interval '1 hour' WHERE name = '`+last+`';
		CREATE FUNCTION public.cut() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); END';
		CREATE EVENT TRIGGER cut ON ddl_command_start WHEN TAG IN ('DROP SCHEMA') EXECUTE FUNCTION public.cut()`)
	dropped, left, err := r.DropKept(t.Context(), again.Source, always)
	if _, dependents := errors.AsType[*restore.DependentsError](err); !dependents || !errors.Is(err, restore.ErrTarget) || len(dropped) > 0 || left != nil {
		t.Errorf("the session ended: dropped %v, left %v, %v", dropped, left, err)
	}
	execute(t, from, "DROP EVENT TRIGGER cut; DROP FUNCTION public.cut()")
	dropped, left, err = r.DropKept(t.Context(), again.Source, always)
	kept, ok := errors.AsType[*restore.KeptError](err)
	if _, dependents := errors.AsType[*restore.DependentsError](err); !ok || !dependents || len(kept.Stuck) != 1 || kept.Stuck[last] == nil ||
		len(dropped) != 2 || !slices.Equal(left, []string{last}) {
		t.Errorf("dropped %v, left %v, %v", dropped, left, err)
	}
	execute(t, from, "DROP VIEW public.holds")
	if dropped, _, err := r.DropKept(t.Context(), again.Source, always); err != nil || !slices.Equal(dropped, []string{last}) {
		t.Errorf("dropped %v, %v", dropped, err)
	}
	// Into another database the foreign key's table and the type are missing.
	x = sealed(t, dump(t, from, export.Custom, "tenant"), kind{format: export.Custom, compression: seal.Plain}, "tenant")
	to := database(t, "")
	p := placement(t, to, "one", restore.Create)
	p.Tables = []string{"orders"}
	plan, err := r.Plan(t.Context(), x.Export, p, nil)
	if err != nil || len(plan.LeftOut) != 1 || !strings.Contains(plan.LeftOut[0], "people") || !slices.Contains(plan.Missing, `type "tenant"."state"`) ||
		!slices.Contains(plan.Missing, `function "tenant"."touch"`) {
		t.Errorf("plan %+v, %v", plan, err)
	}
	if _, err := r.Place(t.Context(), x.Export, p, nil); err == nil {
		t.Error("placed without its type")
	}
	p.Tables = []string{"parts"}
	place(t, r, x, p)
	p.ID, p.Tables = "two", []string{"nowhere"}
	if _, err := r.Place(t.Context(), x.Export, p, nil); !errors.Is(err, restore.ErrPlacement) {
		t.Errorf("a table that the export lacks: %v", err)
	}
}

// Names with dots, quotes, spaces and upper case are restored as the ones that were named, also into a
// schema of another name.
func TestTablesWithOddNamesAreNotMixedUp(t *testing.T) {
	t.Parallel()
	const sql = `CREATE SCHEMA a; CREATE SCHEMA "a.b"; CREATE TABLE "a.b".c AS SELECT 1 AS v; CREATE TABLE a."b.c" AS SELECT 2 AS v;
		CREATE TABLE a."a.b.c" AS SELECT 3 AS v; CREATE TABLE a."say ""x"" To" AS SELECT 4 AS v; CREATE TABLE a."B.C" AS SELECT 5 AS v;`
	from := database(t, sql)
	server := target(t, from).Source
	r := restorer(restore.Config{Scratch: func(context.Context, int) (restore.Scratch, error) { return restore.Scratch{Server: server}, nil }})
	x := sealed(t, dump(t, from, export.SQL, "a", "a.b"), kind{format: export.SQL, compression: seal.Plain}, "a", "a.b")
	for i, c := range []struct{ table, as, query string }{
		{`"a.b"."c"`, "", `SELECT v FROM "a.b".c`}, {`"a"."b.c"`, "", `SELECT v FROM a."b.c"`}, {`"a"."a.b.c"`, "", `SELECT v FROM a."a.b.c"`},
		{`"a"."say ""x"" To"`, "", `SELECT v FROM a."say ""x"" To"`}, {`"a"."B.C"`, "", `SELECT v FROM a."B.C"`},
		{`"a"."say ""x"" To"`, `o"dd`, `SELECT v FROM "o""dd"."say ""x"" To"`},
	} {
		to := database(t, "")
		p := placement(t, to, fmt.Sprint("odd ", i), restore.Create)
		if p.Tables, p.Schema = []string{c.table}, c.as; c.as != "" {
			p.Schemas = []string{"a"}
		}
		if placed := place(t, r, x, p); len(placed.Tables) != 1 {
			t.Errorf("%s: placed %+v", c.table, placed.Tables)
		}
		value[int](t, to, c.query)
	}
	p := placement(t, database(t, ""), "ambiguous", restore.Create)
	p.Tables = []string{"a.b.c"}
	if _, err := r.Place(t.Context(), x.Export, p, nil); !errors.Is(err, restore.ErrPlacement) {
		t.Errorf("a.b.c: %v", err)
	}
}

// scratchLogin makes a login for throw-away databases, which is no superuser.
func scratchLogin(t *testing.T) *libpq.Source {
	t.Helper()
	s, err := libpq.Parse(secret.String(cluster.URL("postgres")))
	if err != nil {
		t.Fatal(err)
	}
	return s.WithLogin(role(t, "LOGIN CREATEDB BYPASSRLS PASSWORD 'p'"), "p")
}

func TestASchemaIsPlacedUnderAnotherName(t *testing.T) {
	t.Parallel()
	from := database(t, shopSQL)
	login := scratchLogin(t)
	r := restorer(restore.Config{Scratch: func(context.Context, int) (restore.Scratch, error) { return restore.Scratch{Server: login}, nil }})
	rename := func(s string) string { return strings.ReplaceAll(s, "tenant", "copy") }
	want := map[string]contents.Table{}
	for name, c := range read(t, from, "tenant") {
		want[rename(name)] = c
	}
	ddl := rename(script(t, from, "tenant"))
	for _, f := range formats {
		x := sealed(t, dump(t, from, f, "tenant"), kind{format: f, compression: seal.Plain}, "tenant")
		p := placement(t, from, "copy-"+string(f), restore.Create)
		if f != export.SQL {
			p.Mode = restore.Replace
		}
		p.Schema = "copy"
		plan, err := r.Plan(t.Context(), x.Export, p, nil)
		if err != nil || len(plan.StillNames) != 2 || plan.Rows != 310 {
			t.Fatalf("%s: plan %+v, %v", f, plan, err)
		}
		placed := place(t, r, x, p)
		if diffs := contents.Compare(want, read(t, from, "copy")); len(diffs) > 0 {
			t.Errorf("%s: %v", f, diffs)
		}
		if !slices.Equal(plan.StillNames, placed.StillNames) {
			t.Errorf("%s: still names %q, planned %q", f, placed.StillNames, plan.StillNames)
		}
		if got := rename(script(t, from, "copy")); got != ddl {
			t.Errorf("%s: other definitions:\n%s\nwant\n%s", f, got, ddl)
		}
	}
	if n := value[int](t, "postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 'pgcourier_scratch%' AND pg_get_userbyid(datdba) = '"+login.User()+"'"); n != 0 {
		t.Errorf("%d scratch databases are left", n)
	}
	// What needs another schema cannot be renamed whole.
	other := database(t, "CREATE SCHEMA shared; CREATE TABLE shared.plans (id int PRIMARY KEY); CREATE SCHEMA tenant; CREATE TABLE tenant.t (plan int REFERENCES shared.plans)")
	x := sealed(t, dump(t, other, export.SQL, "tenant"), kind{format: export.SQL, compression: seal.Plain}, "tenant")
	x.Manifest.Artifact.Needs.Objects = []string{"table shared.plans"}
	p := placement(t, other, "x", restore.Create)
	p.Schema = "copy"
	before := slices.Sorted(maps.Keys(read(t, other, "copy", "tenant")))
	var left *restore.LeftOutError
	if _, err := r.Place(t.Context(), x.Export, p, nil); !errors.As(err, &left) || !strings.Contains(fmt.Sprint(left.Objects), "plan") {
		t.Errorf("a foreign key to another schema: %v", err)
	}
	if after := slices.Sorted(maps.Keys(read(t, other, "copy", "tenant"))); !slices.Equal(before, after) {
		t.Errorf("%v, before %v", after, before)
	}
	p.LeaveOut = true
	if placed := place(t, r, x, p); len(placed.LeftOut) != 1 {
		t.Errorf("placed %+v", placed)
	}
}

// Every kind of object that a schema holds follows into a schema of another name.
func TestEveryKindOfObjectIsPlacedUnderAnotherName(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, name := range []string{"rich", "rich-14", "rich-15", "rich-16", "rich-17", "rich-18"} {
		if major, _ := strconv.Atoi(strings.TrimPrefix(name, "rich-")); major > cluster.Major {
			break
		}
		b, err := os.ReadFile("../dev/roundtrip/testdata/" + name + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	from := database(t, all.String())
	// The second schema depends on the first, and a view without rows cannot be read.
	execute(t, from, `DROP SCHEMA "Ten*ant ""x"".;'\" CASCADE; DROP MATERIALIZED VIEW rich.not_filled`)
	server := target(t, from).Source
	r := restorer(restore.Config{Scratch: func(context.Context, int) (restore.Scratch, error) { return restore.Scratch{Server: server}, nil }})
	const odd = `"Copy ""of"" it"`
	plainName := strings.NewReplacer(odd, "rich", `Copy "of" it`, "rich")
	ddl, want := plainName.Replace(script(t, from, "rich")), read(t, from, "rich")
	for i, f := range formats {
		x := sealed(t, dump(t, from, f, "rich"), kind{format: f, compression: seal.Plain}, "rich")
		p := placement(t, from, "copy-"+string(f), restore.Replace)
		if p.Schema = `Copy "of" it`; i == 0 {
			p.Schema = "rich" // its own name
		}
		placed := place(t, r, x, p)
		found := map[string]contents.Table{}
		for name, c := range read(t, from, p.Schema) {
			found[plainName.Replace(name)] = c
		}
		if diffs := contents.Compare(want, found); len(diffs) > 0 || len(placed.Remarks) > 0 {
			t.Errorf("%s: %v, %v", f, diffs, placed.Remarks)
		}
		if got := plainName.Replace(script(t, from, strings.ReplaceAll(p.Schema, `"`, `""`))); got != ddl {
			t.Errorf("%s: other definitions: %s", f, firstDifference(got, ddl))
		}
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d: %q, want %q", i, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// Rows go from the export to the target, except where they hold names, which change with the schema's.
func TestOddNamesAndNamesInRowsFollowTheRename(t *testing.T) {
	t.Parallel()
	const schema = `Ten*ant "x".;'\`
	from := database(t, `CREATE SCHEMA "Ten*ant ""x"".;'\"; SET search_path = "Ten*ant ""x"".;'\";
		CREATE TABLE "Robert'); DROP TABLE students;--" (id int, "
line" int); INSERT INTO "Robert'); DROP TABLE students;--" VALUES (1, 2), (3, 4);
		CREATE SEQUENCE "seq'u\e""nce" START 5; SELECT setval(quote_ident('seq''u\e"nce'), 42, false);
		CREATE SEQUENCE plain; SELECT setval('plain', 7);`)
	server := target(t, from).Source
	r := restorer(restore.Config{Scratch: func(context.Context, int) (restore.Scratch, error) { return restore.Scratch{Server: server}, nil }})
	for _, c := range []struct{ more, query, want string }{
		{"", `SELECT (SELECT count(*) FROM copy."Robert'); DROP TABLE students;--")::text || nextval(quote_ident('copy') || '.' || quote_ident('seq''u\e"nce')) || nextval('copy.plain')`, "2428"},
		{`CREATE TABLE "Ten*ant ""x"".;'\".names AS SELECT ARRAY['"Ten*ant ""x"".;''\".plain'::regclass] AS n`, `SELECT n::text FROM copy.names`, "{copy.plain}"},
	} {
		execute(t, from, c.more)
		x := sealed(t, dump(t, from, export.SQL, strings.ReplaceAll(schema, `"`, `""`)), kind{format: export.SQL, compression: seal.Plain}, schema)
		p := placement(t, from, "rename"+c.want, restore.Replace)
		p.Schema = "copy"
		place(t, r, x, p)
		if got := value[string](t, from, c.query); got != c.want {
			t.Errorf("%s: %s, want %s", c.query, got, c.want)
		}
	}
}

// A login without superuser rights places for the owner, also where an extension is in the schema.
func TestALoginWithFewRightsPlacesForTheOwner(t *testing.T) {
	t.Parallel()
	from := database(t, "CREATE SCHEMA tenant; CREATE EXTENSION citext SCHEMA tenant; CREATE TABLE tenant.t (id serial, name tenant.citext); INSERT INTO tenant.t (name) VALUES ('A')")
	owner := role(t, "")
	login, app := role(t, "LOGIN PASSWORD 'p' IN ROLE "+owner), role(t, "")
	to := database(t, "")
	execute(t, to, "GRANT CREATE ON DATABASE "+to+" TO "+login)
	x := sealed(t, dump(t, from, export.Custom, "tenant"), kind{format: export.Custom, compression: seal.Plain}, "tenant")
	x.Manifest.Artifact.Needs.Extensions = []export.Extension{{Name: "citext", Schema: "tenant"}}
	server := scratchLogin(t)
	r := restorer(restore.Config{Scratch: func(context.Context, int) (restore.Scratch, error) { return restore.Scratch{Server: server}, nil }})
	few := func(id string, mode restore.Mode) restore.Placement {
		p := placement(t, to, id, mode)
		p.Source, p.Owner, p.CreateExtensions = p.Source.WithLogin(login, "p"), owner, true
		return p
	}
	place(t, r, x, few("first", restore.Create))
	execute(t, to, "GRANT USAGE ON SCHEMA tenant TO "+app+"; GRANT SELECT ON tenant.t TO "+app)
	if _, err := r.Plan(t.Context(), x.Export, few("second", restore.Replace), nil); !errors.Is(err, restore.ErrForbidden) || !strings.Contains(err.Error(), "citext") {
		t.Errorf("a login that cannot move the extension: %v", err)
	}
	asSuperuser := few("second", restore.Replace)
	asSuperuser.Source = placement(t, to, "", "").Source
	second := place(t, r, x, asSuperuser)
	third := few("third", restore.Replace)
	third.Tables, third.Owner = []string{"t"}, ""
	placed := place(t, r, x, third)
	if len(second.Remarks)+len(placed.Remarks) > 0 {
		t.Errorf("remarks %q, %q", second.Remarks, placed.Remarks)
	}
	if got := value[string](t, to, `SELECT concat((SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'citext'), ' ',
		pg_get_userbyid(relowner), ' ', has_table_privilege('`+app+`', oid, 'SELECT'), ' ', (SELECT name OPERATOR(tenant.=) 'a' FROM tenant.t), ' ', (SELECT count(*) FROM "`+second.Kept[0]+`".t))
		FROM pg_class WHERE oid = 'tenant.t'::regclass`); got != "tenant "+owner+" t t 1" {
		t.Errorf("the target has %q", got)
	}
	renamed := few("fourth", restore.Create)
	renamed.Schema, renamed.CreateExtensions = "copy", false
	if plan, err := r.Plan(t.Context(), x.Export, renamed, nil); err != nil || !slices.ContainsFunc(plan.Missing, func(m string) bool { return strings.Contains(m, "citext") }) {
		t.Errorf("the extension is in another schema: %+v, %v", plan, err)
	}
	keptIsDue(t, to)
	if dropped, _, err := r.DropKept(t.Context(), asSuperuser.Source, always); err != nil || len(dropped) != 2 {
		t.Errorf("dropped %v, %v", dropped, err)
	}
	// Without CREATE on the database, tables can be added where an administrator has made the markers.
	execute(t, to, "REVOKE CREATE ON DATABASE "+to+" FROM "+login+"; DROP TABLE tenant.t")
	fifth := few("fifth", restore.Create)
	fifth.Tables, fifth.CreateExtensions = []string{"t"}, false
	place(t, r, x, fifth)
	sixth := few("sixth", restore.Replace)
	if _, err := r.Place(t.Context(), x.Export, sixth, nil); !errors.Is(err, restore.ErrForbidden) {
		t.Errorf("replaced without CREATE on the database: %v", err)
	}
}
