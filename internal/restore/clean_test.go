package restore_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// tenantSQL is a schema with an object of each kind that others can depend on.
const tenantSQL = `
CREATE SCHEMA tenant;
CREATE TYPE tenant.mood AS ENUM ('sad', 'happy');
CREATE DOMAIN tenant.short AS text CHECK (length(VALUE) < 9);
CREATE FUNCTION tenant.next(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i + 1';
CREATE TABLE tenant.users (id int PRIMARY KEY, feels tenant.mood);
CREATE TABLE tenant.parted (id int) PARTITION BY LIST (id);
INSERT INTO tenant.users VALUES (1, 'happy'), (2, 'sad');
CREATE SEQUENCE tenant.numbers;
CREATE VIEW tenant.names AS SELECT id FROM tenant.users;`

// --clean neither drops nor changes objects of others that depend on the schemas.
func TestCleanRefusesToDropWhatLiesElsewhere(t *testing.T) {
	t.Parallel()
	plain := dump(t, database(t, tenantSQL), export.SQL, "tenant")
	for name, c := range map[string]struct{ sql, object string }{
		"a column of the type":       {"CREATE TABLE other.t (id int, feels tenant.mood); INSERT INTO other.t VALUES (1, 'sad')", "table column other.t.feels"},
		"an array of the type":       {"CREATE TABLE other.t (feels tenant.mood[])", "table column other.t.feels"},
		"a column of the row type":   {"CREATE TABLE other.t (u tenant.users)", "table column other.t.u"},
		"a domain over the domain":   {"CREATE DOMAIN other.shorter AS tenant.short", "type other.shorter"},
		"a view":                     {"CREATE VIEW other.v AS SELECT * FROM tenant.users", "view other.v"},
		"a view of a view":           {"CREATE VIEW other.v AS SELECT * FROM tenant.names", "view other.v"},
		"a view of a column":         {"CREATE TABLE other.t (id int, feels tenant.mood); CREATE VIEW other.v AS SELECT feels FROM other.t", "table column other.t.feels"},
		"a materialized view":        {"CREATE MATERIALIZED VIEW other.m AS SELECT * FROM tenant.users", "materialized view other.m"},
		"a foreign key":              {"CREATE TABLE other.t (id int CONSTRAINT fk REFERENCES tenant.users)", "table constraint fk on other.t"},
		"a partition":                {"CREATE TABLE other.one PARTITION OF tenant.parted FOR VALUES IN (1)", "table other.one"},
		"an heir":                    {"CREATE TABLE other.heir () INHERITS (tenant.users)", "table other.heir"},
		"a default":                  {"CREATE TABLE other.t (id int DEFAULT nextval('tenant.numbers'))", "default value for other.t.id"},
		"an index":                   {"CREATE TABLE other.t (id int); CREATE INDEX ti ON other.t (tenant.next(id))", "index other.ti"},
		"a policy":                   {"CREATE TABLE other.t (id int); CREATE POLICY p ON other.t USING (tenant.next(id) > 1)", "policy p on other.t"},
		"a function":                 {"CREATE FUNCTION other.f(m tenant.mood) RETURNS int LANGUAGE sql AS 'SELECT 1'", "function other.f(tenant.mood)"},
		"a trigger":                  {"CREATE FUNCTION tenant.tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TABLE other.t (id int); CREATE TRIGGER tr BEFORE INSERT ON other.t FOR EACH ROW EXECUTE FUNCTION tenant.tell()", "trigger tr on other.t"},
		"an operator":                {"CREATE OPERATOR other.#+# (PROCEDURE = tenant.next, RIGHTARG = int)", "operator other.#+#(NONE,integer)"},
		"a cast":                     {"CREATE FUNCTION tenant.number(tenant.mood) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE CAST (tenant.mood AS int) WITH FUNCTION tenant.number(tenant.mood)", "cast (tenant.mood AS integer)"},
		"a publication":              {"CREATE PUBLICATION changes FOR TABLE tenant.users", "publication relation tenant.users in publication changes"},
		"a table in the second step": {"CREATE TABLE other.a (id int, feels tenant.mood); CREATE VIEW other.b AS SELECT id FROM other.a WHERE feels = 'sad'; CREATE VIEW other.c AS SELECT * FROM other.b", "view other.c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := database(t, tenantSQL+"CREATE SCHEMA other;"+c.sql)
			x := sealed(t, plain, kind{format: export.SQL, compression: seal.Plain}, "tenant")
			at := target(t, to)
			at.Clean = true
			before := value[int](t, to, "SELECT count(*) FROM pg_depend")
			_, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, at, nil)
			refused, ok := errors.AsType[*restore.DependentsError](err)
			if !ok || !slices.Contains(refused.Objects, c.object) {
				t.Fatalf("%v, want %s to be named", err, c.object)
			}
			for _, o := range refused.Objects {
				if strings.Contains(o, " tenant.") && !strings.Contains(o, "other.") && !strings.Contains(o, "cast") && !strings.Contains(o, "publication") {
					t.Errorf("%s is inside of the schema", o)
				}
			}
			if x.opened.Load() != 0 {
				t.Error("the export was read before the target was looked at")
			}
			if after := value[int](t, to, "SELECT count(*) FROM pg_depend"); after != before {
				t.Errorf("%d dependencies before, %d now", before, after)
			}
		})
	}
}

// A change between the look and the transaction is found in the transaction.
func TestADependentMadeMeanwhileRollsBack(t *testing.T) {
	t.Parallel()
	plain := dump(t, database(t, tenantSQL), export.SQL, "tenant")
	for name, c := range map[string]struct {
		before, meanwhile string
		clean             bool
	}{
		"a view":            {tenantSQL, "CREATE VIEW public.v AS SELECT * FROM tenant.users", true},
		"an object, empty":  {"CREATE SCHEMA tenant", "CREATE VIEW tenant.names AS SELECT 1 AS i; CREATE VIEW public.v AS SELECT * FROM tenant.names", false},
		"a schema that was": {"", "CREATE SCHEMA tenant; CREATE VIEW public.v AS SELECT 1", false},
	} {
		x := sealed(t, plain, kind{format: export.SQL, compression: seal.Plain}, "tenant")
		to := database(t, c.before)
		x.readings(func(b []byte) io.Reader { execute(t, to, c.meanwhile); return bytes.NewReader(b) }, whole)
		at := target(t, to)
		at.Clean = c.clean
		_, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, at, nil)
		if _, rejected := errors.AsType[*restore.RejectedError](err); !errors.Is(err, restore.ErrOccupied) && !rejected {
			t.Errorf("%s: %v", name, err)
		}
		if !value[bool](t, to, "SELECT to_regclass('public.v') IS NOT NULL AND to_regclass('tenant.parted') IS NULL = "+strconv.FormatBool(!c.clean)) {
			t.Errorf("%s: the target was changed", name)
		}
	}
}

// Extensions stay, and so do others' columns of their types.
func TestCleanKeepsExtensions(t *testing.T) {
	t.Parallel()
	const sql = "CREATE EXTENSION citext; CREATE EXTENSION pg_trgm; CREATE TABLE public.people (name citext); INSERT INTO public.people VALUES ('Ada');" +
		"CREATE INDEX ON public.people USING gist (name gist_trgm_ops)"
	from := database(t, sql)
	for _, f := range formats {
		x := sealed(t, dump(t, from, f, "public"), kind{format: f, compression: seal.Plain}, "public")
		to := database(t, sql+"; CREATE SCHEMA ten; CREATE TABLE ten.t (id int, email public.citext); INSERT INTO ten.t VALUES (1, 'Bob'); INSERT INTO people VALUES ('Eve')")
		at := target(t, to)
		at.Clean = true
		if _, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, at, nil); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if !value[bool](t, to, "SELECT (SELECT email FROM ten.t) = 'bob' AND (SELECT array_agg(name)::text FROM people) = '{Ada}' AND (SELECT count(*) FROM pg_extension) = 3") {
			t.Errorf("%s: not as it should be", f)
		}
	}
}

// An existing schema keeps its owner, its rights and its default privileges.
func TestTheTargetsSchemaKeepsItsRights(t *testing.T) {
	t.Parallel()
	from := database(t, tenantSQL+"COMMENT ON SCHEMA tenant IS 'it''s; \"ours\"'; CREATE TABLE public.t AS SELECT 1 AS i")
	execute(t, "postgres", "CREATE ROLE reader_of_tenants")
	const rights = "CREATE SCHEMA IF NOT EXISTS tenant; GRANT USAGE ON SCHEMA tenant TO reader_of_tenants; ALTER DEFAULT PRIVILEGES IN SCHEMA tenant GRANT SELECT ON TABLES TO reader_of_tenants;"
	for _, c := range []struct {
		sql         string
		clean       bool
		jobs        int
		notAsScript bool
	}{{rights, false, 0, false}, {tenantSQL + rights, true, 0, false}, {rights, false, 2, true}} {
		for _, f := range formats {
			if c.notAsScript && f != export.Custom && f != export.Directory {
				continue
			}
			x := sealed(t, dump(t, from, f, "tenant", "public"), kind{format: f, compression: seal.Plain}, "tenant", "public")
			to := database(t, c.sql)
			at := target(t, to)
			at.Clean, at.Jobs = c.clean, c.jobs
			if _, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, at, nil); err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			if !value[bool](t, to, `SELECT has_schema_privilege('reader_of_tenants', 'tenant', 'USAGE') AND has_table_privilege('reader_of_tenants', 'tenant.users', 'SELECT')
				AND has_schema_privilege('reader_of_tenants', 'public', 'USAGE') AND obj_description('tenant'::regnamespace) = 'it''s; "ours"'`) {
				t.Errorf("%s, clean %t, jobs %d: the rights are not what they were", f, c.clean, c.jobs)
			}
		}
	}
}

// Every kind of object that a schema can hold is dropped and restored.
func TestCleanDropsEveryKindOfObject(t *testing.T) {
	t.Parallel()
	const sql = tenantSQL + `
CREATE TABLE tenant.ids (id int GENERATED ALWAYS AS IDENTITY, s serial);
CREATE TYPE tenant.pair AS (a int, b tenant.mood);
CREATE TYPE tenant.span AS RANGE (subtype = int);
CREATE PROCEDURE tenant.nothing() LANGUAGE sql AS '';
CREATE AGGREGATE tenant.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE AGGREGATE tenant.all_of(*) (SFUNC = int8inc, STYPE = int8, INITCOND = '0');
CREATE AGGREGATE tenant.middle(float8 ORDER BY anyelement) (SFUNC = ordered_set_transition, STYPE = internal, FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA);
CREATE OPERATOR tenant.#+# (PROCEDURE = int4pl, LEFTARG = int, RIGHTARG = int);
CREATE OPERATOR tenant.@#@ (PROCEDURE = tenant.next, RIGHTARG = int);
CREATE OPERATOR FAMILY tenant.fam USING btree;
CREATE OPERATOR CLASS tenant.cls FOR TYPE int USING btree FAMILY tenant.fam AS OPERATOR 1 <, FUNCTION 1 btint4cmp(int, int);
CREATE COLLATION tenant.plain FROM "C";
CREATE CONVERSION tenant.conv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE STATISTICS tenant.st ON id, feels FROM tenant.users;
CREATE TEXT SEARCH CONFIGURATION tenant.cfg (COPY = simple);
CREATE TEXT SEARCH DICTIONARY tenant.dict (TEMPLATE = simple);
CREATE MATERIALIZED VIEW tenant.mat AS SELECT * FROM tenant.users;
CREATE TABLE tenant."it's ""odd"" $x$" (id int REFERENCES tenant.users);
CREATE RULE r AS ON INSERT TO tenant.names DO INSTEAD NOTHING;
ALTER TABLE tenant.users ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON tenant.users USING (tenant.next(id) > 1);`
	from := database(t, sql)
	want, err := contents.Read(t.Context(), connect(t, from), []string{"tenant"})
	if err != nil {
		t.Fatal(err)
	}
	x := sealed(t, dump(t, from, export.SQL, "tenant"), kind{format: export.SQL, compression: seal.Plain}, "tenant")
	to := database(t, sql+"INSERT INTO tenant.users VALUES (3); CREATE TABLE tenant.more (i int)")
	at := target(t, to)
	at.Clean = true
	if _, err := restorer(restore.Config{}).Restore(t.Context(), x.Export, at, nil); err != nil {
		t.Fatal(err)
	}
	found, err := contents.Read(t.Context(), connect(t, to), []string{"tenant"})
	if err != nil {
		t.Fatal(err)
	}
	if diffs := contents.Compare(want, found); len(diffs) > 0 {
		t.Error(diffs)
	}
}
