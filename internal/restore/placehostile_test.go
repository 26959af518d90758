package restore_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// attackSQL makes the functions of the attacks. attack takes the rights of the login if it can, and then
// writes to a table of the login; it counts its calls. immutable does the same in places that need an
// immutable function. In the source, which has no schema spied, they do nothing.
const attackSQL = `
CREATE SCHEMA tenant;
CREATE FUNCTION tenant.attack(what text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  IF pg_catalog.to_regclass('spied.log') IS NOT NULL THEN
    PERFORM nextval('spied.calls');
    BEGIN PERFORM set_config('role', 'none', true); EXCEPTION WHEN others THEN NULL; END;
    BEGIN EXECUTE format('INSERT INTO spied.log VALUES (%L)', what); EXCEPTION WHEN others THEN NULL; END;
    BEGIN EXECUTE format('DELETE FROM pgcourier_restore.markers'); EXCEPTION WHEN others THEN NULL; END;
  END IF;
  RETURN 1;
END$$;
CREATE FUNCTION tenant.immutable(what text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN tenant.attack(what); END $$;`

// plans is a table of another schema, to which only the login of the target may make foreign keys.
const plans = "CREATE SCHEMA o; CREATE TABLE o.plans (id int PRIMARY KEY); INSERT INTO o.plans VALUES (1);"

// hostileTarget is a database with a login, a role that is to own what is restored, and a table to which
// only the login can write.
func hostileTarget(t *testing.T) (name, login, owner string) {
	t.Helper()
	owner = role(t, "")
	login = role(t, "LOGIN PASSWORD 'p' IN ROLE "+owner)
	name = database(t, "")
	execute(t, name, strings.NewReplacer("$login", login, "$owner", owner).Replace("GRANT CREATE ON DATABASE "+name+` TO $login;
		CREATE SCHEMA spied; GRANT USAGE ON SCHEMA spied TO PUBLIC; CREATE TABLE spied.log (what text); ALTER TABLE spied.log OWNER TO $login;
		CREATE SEQUENCE spied.calls; GRANT ALL ON SEQUENCE spied.calls TO PUBLIC;`+
		plans+"GRANT USAGE ON SCHEMA o TO PUBLIC; GRANT REFERENCES, SELECT ON o.plans TO $login;"))
	return name, login, owner
}

// Whatever an export calls, at whatever moment of a placement, has the rights of the owner only.
func TestCodeOfAnExportNeverHasTheRightsOfTheLogin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, sql string
		casts     []export.Cast // which pg_dump leaves out of a schema's dump
		early     string        // a statement that the export has before its rows; pg_dump writes it after them
	}{
		{"a check", "CREATE TABLE tenant.t (a int CHECK (tenant.attack('check') > 0)); INSERT INTO tenant.t VALUES (1)", nil, ""},
		{"a check with a query", "CREATE TABLE tenant.t (a int CHECK (query_to_xml('SELECT tenant.attack(''query'')', true, true, '') IS NOT NULL)); INSERT INTO tenant.t VALUES (1)", nil, ""},
		{"a domain", "CREATE DOMAIN tenant.d AS int CHECK (tenant.attack('domain') > 0); CREATE TYPE tenant.c AS (d tenant.d); CREATE TABLE tenant.t (a tenant.c[]); INSERT INTO tenant.t VALUES ('{(1)}')", nil, ""},
		{"a generated column", "CREATE TABLE tenant.t (a int, b int GENERATED ALWAYS AS (a + tenant.immutable('generated')) STORED); INSERT INTO tenant.t VALUES (1)", nil, ""},
		{"the key of a partition", `CREATE FUNCTION tenant.key(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN a * tenant.attack(''key''); END';
			CREATE TABLE tenant.t (a int) PARTITION BY RANGE (tenant.key(a)); CREATE TABLE tenant.t1 PARTITION OF tenant.t FOR VALUES FROM (0) TO (9); INSERT INTO tenant.t VALUES (1)`, nil, ""},
		{"an index, which is evaluated for a plan", "CREATE TABLE tenant.t (a int); INSERT INTO tenant.t VALUES (1); CREATE INDEX i ON tenant.t ((a + tenant.immutable('index'))); ALTER TABLE tenant.t CLUSTER ON i", nil, ""},
		{"a cast of a row to text", `CREATE TABLE tenant.t (a int); INSERT INTO tenant.t VALUES (1);
			CREATE FUNCTION tenant.as_text(tenant.t) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN tenant.attack(''cast''); END'; CREATE CAST (tenant.t AS text) WITH FUNCTION tenant.as_text;
			CREATE INDEX ON tenant.t ((a + tenant.immutable('so that something is called')))`, []export.Cast{{Source: "tenant.t", Target: "text", Function: "tenant.as_text(tenant.t)"}}, ""},
		{"a cursor that outlives the transaction", `CREATE FUNCTION tenant.holds() RETURNS int LANGUAGE plpgsql AS $$
			BEGIN EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT tenant.attack(''cursor'')'; RETURN tenant.attack('before it'); EXCEPTION WHEN duplicate_cursor THEN RETURN 1; END$$;
			CREATE TABLE tenant.t (a int CHECK (tenant.holds() > 0)); INSERT INTO tenant.t VALUES (1)`, nil, ""},
		{"operators and functions that hide those of PostgreSQL", `
			CREATE FUNCTION tenant.same(a oid, b oid) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM tenant.attack(''operator''); RETURN true; END';
			CREATE OPERATOR tenant.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = tenant.same);
			CREATE FUNCTION tenant.to_regclass(text) RETURNS regclass LANGUAGE plpgsql AS 'BEGIN PERFORM tenant.attack(''function''); RETURN NULL; END';
			CREATE FUNCTION tenant.poison() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
			  IF pg_catalog.to_regclass('spied.log') IS NULL THEN RETURN 1; END IF;
			  PERFORM set_config('search_path', 'pg_temp, tenant, pg_catalog', false); PERFORM set_config('standard_conforming_strings', 'off', false);
			  IF pg_catalog.to_regclass('pg_temp.pg_namespace') IS NULL THEN
			    EXECUTE 'CREATE TEMP VIEW pg_namespace AS SELECT tenant.attack(''view'')::oid AS oid, ''tenant''::name AS nspname, 10::oid AS nspowner';
			  END IF;
			  RETURN tenant.attack('before it');
			END$$;
			CREATE TABLE tenant.t (a int CHECK (tenant.poison() > 0), plan int REFERENCES o.plans); INSERT INTO tenant.t VALUES (1, 1)`, nil, ""},
		{"a foreign key that only the login may make, with an index", "CREATE TABLE tenant.t (a int REFERENCES o.plans); INSERT INTO tenant.t VALUES (1); CREATE INDEX i ON tenant.t ((a + tenant.immutable('index'))); ALTER TABLE tenant.t CLUSTER ON i", nil, ""},
		{"a materialized view", "CREATE MATERIALIZED VIEW tenant.m AS SELECT tenant.attack('view') AS a; CREATE INDEX ON tenant.m (a)", nil, ""},
		{"the subtype_diff of a range in an index", `CREATE FUNCTION tenant.diff(a float8, b float8) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM tenant.attack(''range''); RETURN a - b; END';
			CREATE TYPE tenant.r AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = tenant.diff); CREATE DOMAIN tenant.d AS tenant.r;
			CREATE TABLE tenant.t (a tenant.d); INSERT INTO tenant.t SELECT tenant.r(i, i + 1) FROM generate_series(1, 200) i`, nil, "CREATE INDEX i ON tenant.t USING gist (a);"},
	} {
		from := database(t, plans+attackSQL+c.sql)
		format := export.Custom
		if c.early != "" {
			format = export.SQL
		}
		content := dump(t, from, format, "tenant")
		if c.early != "" {
			content = bytes.Replace(content, []byte("\nCOPY "), []byte("\n"+c.early+"\n\nCOPY "), 1)
		}
		x := sealed(t, content, kind{format: format, compression: seal.Plain}, "tenant")
		x.Manifest.Artifact.Needs.Casts = c.casts
		to, login, owner := hostileTarget(t)
		p := placement(t, to, "hostile", restore.Create)
		p.Source, p.Owner = p.Source.WithLogin(login, "p"), owner
		place(t, restorer(restore.Config{}), x, p)
		if got := value[string](t, to, "SELECT coalesce(string_agg(DISTINCT what, ', '), '') FROM spied.log"); got != "" {
			t.Errorf("%s had the rights of the login: %s", c.what, got)
		}
		if calls := value[int64](t, to, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM spied.calls"); calls == 0 {
			t.Errorf("%s was not called", c.what)
		}
		if n := value[int](t, to, "SELECT count(*) FROM pg_proc WHERE proname LIKE 'pgcourier%'"); n != 0 {
			t.Errorf("%s: a function of the restore is left", c.what)
		}
	}
}

// Code that a deferred trigger leaves for COMMIT, or that changes how statements are executed, ends the
// restore.
func TestAnExportThatInterferesIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ what, sql, state string }{
		{"a check with set_config", "CREATE TABLE tenant.t (a int CHECK (set_config('role', 'none', true) IS NOT NULL)); INSERT INTO tenant.t VALUES (1)", "42501"},
		{"a deferred trigger that a deferred trigger leaves", `CREATE TABLE tenant.queued (a int); INSERT INTO tenant.queued VALUES (1);
			CREATE FUNCTION tenant.plants() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
			  IF to_regclass('spied.log') IS NOT NULL THEN
			    IF (SELECT last_value FROM spied.calls) < 9 THEN SET CONSTRAINTS ALL DEFERRED; UPDATE tenant.queued SET a = a; END IF;
			  END IF;
			  RETURN 1; END$$;
			CREATE FUNCTION tenant.late_attack() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM tenant.attack(''deferred''), tenant.plants(); RETURN NULL; END';
			CREATE CONSTRAINT TRIGGER late_attack AFTER UPDATE ON tenant.queued DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tenant.late_attack();
			CREATE TYPE tenant.n AS ENUM ('1'); CREATE FUNCTION tenant.as_int(tenant.n) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN tenant.plants(); END';
			CREATE CAST (tenant.n AS int) WITH FUNCTION tenant.as_int AS IMPLICIT;
			CREATE TABLE tenant.k (id int PRIMARY KEY); INSERT INTO tenant.k VALUES (1); CREATE TABLE tenant.t (a tenant.n REFERENCES tenant.k); INSERT INTO tenant.t VALUES ('1')`, "55006"},
		{"a cast in a foreign key that only the login may make", `CREATE TYPE tenant.n AS ENUM ('1');
			CREATE FUNCTION tenant.as_int(tenant.n) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN tenant.attack(''key''); END'; CREATE CAST (tenant.n AS int) WITH FUNCTION tenant.as_int AS IMPLICIT;
			CREATE TABLE tenant.t (a tenant.n REFERENCES o.plans); INSERT INTO tenant.t VALUES ('1')`, ""},
		{"another function in place of the restore's", `CREATE FUNCTION tenant.replaces() RETURNS int LANGUAGE plpgsql AS $$
			DECLARE f regprocedure; BEGIN FOR f IN SELECT oid FROM pg_proc WHERE proname LIKE 'pgcourier%' LOOP EXECUTE format('ALTER FUNCTION %s SECURITY INVOKER', f); END LOOP; RETURN tenant.attack('replaced'); END$$;
			CREATE TABLE tenant.t (a int CHECK (tenant.replaces() > 0)); INSERT INTO tenant.t VALUES (1)`, ""},
		{"COMMIT in a function", `CREATE FUNCTION tenant.commits() RETURNS int LANGUAGE plpgsql AS 'BEGIN IF to_regclass(''spied.log'') IS NOT NULL THEN COMMIT; END IF; RETURN 1; END';
			CREATE TABLE tenant.t (a int CHECK (tenant.commits() > 0)); INSERT INTO tenant.t VALUES (1)`, "2D000"},
		{"COMMIT in a procedure", `CREATE PROCEDURE tenant.commit() LANGUAGE plpgsql AS 'BEGIN COMMIT; END';
			CREATE FUNCTION tenant.commits() RETURNS int LANGUAGE plpgsql AS 'BEGIN IF to_regclass(''spied.log'') IS NOT NULL THEN CALL tenant.commit(); END IF; RETURN 1; END';
			CREATE TABLE tenant.t (a int CHECK (tenant.commits() > 0)); INSERT INTO tenant.t VALUES (1)`, "2D000"},
	} {
		from := database(t, plans+attackSQL+c.sql)
		x := sealed(t, dump(t, from, export.Custom, "tenant"), kind{format: export.Custom, compression: seal.Plain}, "tenant")
		if strings.Contains(c.sql, "CREATE CAST") { // pg_dump leaves it out of a schema's dump
			x.Manifest.Artifact.Needs.Casts = []export.Cast{{Source: "tenant.n", Target: "integer", Function: "tenant.as_int(tenant.n)", Context: "AS IMPLICIT"}}
		}
		to, login, owner := hostileTarget(t)
		p := placement(t, to, "hostile", restore.Create)
		p.Source, p.Owner = p.Source.WithLogin(login, "p"), owner
		_, err := restorer(restore.Config{}).Place(t.Context(), x.Export, p, nil)
		rejected, ok := errors.AsType[*restore.RejectedError](err)
		if !ok || rejected.SQLState != c.state {
			t.Errorf("%s: %v", c.what, err)
		}
		if n := value[int](t, to, "SELECT (SELECT count(*) FROM spied.log) + (SELECT count(*) FROM pg_namespace WHERE nspname = 'tenant')"); n != 0 {
			t.Errorf("%s: the target was changed", c.what)
		}
	}
}

// Code that gives the session another name does not keep it from being ended.
func TestAnAttemptThatHidesIsEnded(t *testing.T) {
	t.Parallel()
	from := database(t, plans+attackSQL+`
		CREATE FUNCTION tenant.hides() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
		  IF to_regclass('spied.log') IS NOT NULL THEN PERFORM set_config('application_name', 'hidden', false), pg_advisory_lock(1); END IF;
		  RETURN 1; END$$;
		CREATE TABLE tenant.t (a int CHECK (tenant.hides() > 0)); INSERT INTO tenant.t VALUES (1)`)
	x := sealed(t, dump(t, from, export.Custom, "tenant"), kind{format: export.Custom, compression: seal.Plain}, "tenant")
	to, login, owner := hostileTarget(t)
	p := placement(t, to, "hidden", restore.Create)
	p.Source, p.Owner = p.Source.WithLogin(login, "p"), owner
	r := restorer(restore.Config{})
	conn := connect(t, to)
	if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_lock(1)"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := r.Place(t.Context(), x.Export, p, nil)
		done <- err
	}()
	const waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'hidden' AND datname = current_database() AND wait_event_type = 'Lock')"
	for hidden := false; !hidden; {
		if err := conn.QueryRow(t.Context(), waits).Scan(&hidden); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			t.Fatalf("it ended before it was hidden: %v", err)
		default:
		}
	}
	if _, committed, err := r.Refuse(t.Context(), p.Source, "hidden"); err != nil || committed {
		t.Errorf("refuse: %t, %v", committed, err)
	}
	if err := <-done; !errors.Is(err, restore.ErrTarget) {
		t.Errorf("the hidden attempt: %v", err)
	}
}

// A script with statements that pg_dump does not write, or that the server reads in another way than the
// restorer, changes nothing.
func TestAScriptThatLeavesTheTransactionIsRefused(t *testing.T) {
	t.Parallel()
	from := database(t, "CREATE SCHEMA tenant; CREATE TABLE tenant.t (a int); INSERT INTO tenant.t VALUES (1); COMMENT ON TABLE tenant.t IS 'of tenant'")
	plain := dump(t, from, export.SQL, "tenant")
	to, login, owner := hostileTarget(t)
	before := func(what, statement string) []byte {
		return bytes.Replace(plain, []byte("\n"+what), []byte("\n"+statement+"\n"+what), 1)
	}
	scripts := map[string][]byte{
		"a comment that ends at a carriage return": before("COPY ", "-- x\rCOMMIT\n;"),
		"a string that ends elsewhere": before("COPY ", `CREATE FUNCTION tenant.f() RETURNS int LANGUAGE plpgsql AS $$BEGIN PERFORM set_config('standard_conforming_strings', 'on', false); RETURN 1; END$$;
SET standard_conforming_strings = off;
CREATE TABLE tenant.u AS SELECT tenant.f();
COMMENT ON TABLE tenant.t IS 'a\'; COMMIT; --';`),
		"another column in COPY": bytes.Replace(plain, []byte("COPY tenant.t (a)"), []byte(`COPY tenant.t (a, "b")`), 1),
	}
	for _, statement := range []string{
		"COMMIT;", "END;", "ABORT;", "ROLLBACK;", "BEGIN;", "START TRANSACTION;", "PREPARE TRANSACTION 'x';", "SAVEPOINT x;", "RELEASE SAVEPOINT pgcourier_count;",
		"SET ROLE NONE;", `SET "role" = 'none';`, "SET role = none;", "SET LOCAL role = none;", "SET SESSION AUTHORIZATION DEFAULT;", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY;",
		"SET TRANSACTION READ ONLY;", "SET CONSTRAINTS ALL DEFERRED;", "SET search_path = tenant;", "RESET ROLE;", "RESET ALL;", "DISCARD ALL;",
		"SELECT pg_catalog.set_config('role', 'none', false);", `SELECT pg_catalog."set_config"('role', 'none', false);`, "SELECT pg_catalog.set_config('search_path', 'tenant', false);",
		"SELECT pg_catalog.set_config('standard_conforming_strings', 'off', false);", "SELECT pg_catalog.query_to_xml('COMMIT', true, true, '');",
		"DO 'BEGIN COMMIT; END';", "CALL tenant.p();", "EXECUTE x;", "PREPARE x AS SELECT 1;", "LOCK TABLE tenant.t;", "TRUNCATE tenant.t;", "INSERT INTO tenant.t VALUES (2);",
	} {
		scripts[statement] = before("COPY ", statement)
	}
	r := restorer(restore.Config{})
	for what, text := range scripts {
		if bytes.Equal(text, plain) {
			t.Fatalf("%s: the script was not changed", what)
		}
		p := placement(t, to, "script", restore.Create)
		p.Source, p.Owner = p.Source.WithLogin(login, "p"), owner
		var rejected *restore.RejectedError
		if _, err := r.Place(t.Context(), sealed(t, text, kind{format: export.SQL, compression: seal.Plain}, "tenant").Export, p, nil); !errors.As(err, &rejected) {
			t.Errorf("%s: %v", what, err)
		}
		if value[bool](t, to, "SELECT to_regnamespace('tenant') IS NOT NULL") {
			t.Fatalf("%s: the target was changed", what)
		}
	}
}

// Tables with code get their rows by INSERT instead of COPY, and hold the same.
func TestRowsOfTablesWithCodeArePlacedUnchanged(t *testing.T) {
	t.Parallel()
	from := database(t, attackSQL+`
		CREATE DOMAIN tenant.d AS text CHECK (tenant.attack(VALUE) > 0);
		CREATE TABLE tenant.t (id int GENERATED ALWAYS AS IDENTITY, a tenant.d, "b ""c"" 'd" bytea, c text[], u int GENERATED ALWAYS AS (id + tenant.immutable('x')) STORED);
		INSERT INTO tenant.t (a, "b ""c"" 'd", c) VALUES (NULL, NULL, NULL), ('', '', '{}'), (E'\b\f\n\r\t\v\\ ''"', '\x00ff27', ARRAY[E'\\N', NULL, 'it''s', E'\v\\v']), ('\N', E'\\x5c', '{"ü"}'), ('\u0041\x41\101', '\x', '{}');
		INSERT INTO tenant.t (a) SELECT repeat('long ', 100000) || i FROM generate_series(1, 5) i;
		CREATE TABLE tenant.none (CHECK (tenant.attack('x') > 0)); INSERT INTO tenant.none DEFAULT VALUES; INSERT INTO tenant.none DEFAULT VALUES;
		CREATE TABLE tenant.empty (a tenant.d);`)
	want := read(t, from, "tenant")
	for _, f := range formats {
		x := sealed(t, dump(t, from, f, "tenant"), kind{format: f, compression: seal.Plain}, "tenant")
		to, login, owner := hostileTarget(t)
		p := placement(t, to, "rows", restore.Create)
		p.Source, p.Owner = p.Source.WithLogin(login, "p"), owner
		place(t, restorer(restore.Config{}), x, p)
		if diffs := contents.Compare(want, read(t, to, "tenant")); len(diffs) > 0 {
			t.Errorf("%s: %v", f, diffs)
		}
		if value[int64](t, to, "SELECT last_value FROM spied.calls") < 2 || value[int](t, to, "SELECT count(*) FROM spied.log") != 0 {
			t.Errorf("%s: the code was not called with the rights of the owner", f)
		}
	}
}

// The place of the markers is looked at before it is trusted.
func TestAForeignPlaceOfTheMarkersIsRefused(t *testing.T) {
	t.Parallel()
	from := database(t, "CREATE SCHEMA tenant; CREATE TABLE tenant.t (a int)")
	x := sealed(t, dump(t, from, export.Custom, "tenant"), kind{format: export.Custom, compression: seal.Plain}, "tenant")
	r := restorer(restore.Config{})
	for what, sql := range map[string]string{
		"has a rule":         "CREATE RULE r AS ON INSERT TO pgcourier_restore.markers DO INSTEAD NOTHING",
		"has a trigger":      "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER t BEFORE INSERT ON pgcourier_restore.kept FOR EACH ROW EXECUTE FUNCTION f()",
		"has row security":   "ALTER TABLE pgcourier_restore.markers ENABLE ROW LEVEL SECURITY",
		"calls a function":   "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT 1'; ALTER TABLE pgcourier_restore.markers ALTER placed SET DEFAULT f()",
		"no ordinary table":  "ALTER TABLE pgcourier_restore.kept SET UNLOGGED",
		"belongs to role":    "ALTER TABLE pgcourier_restore.markers OWNER TO $other",
		"index on an":        "CREATE INDEX ON pgcourier_restore.markers (lower(id))",
		"not PostgreSQL's":   "CREATE DOMAIN d AS text; ALTER TABLE pgcourier_restore.kept ADD more d",
		"rights on table":    "GRANT DELETE ON pgcourier_restore.markers TO $owner",
		"rights on schema":   "GRANT USAGE ON SCHEMA pgcourier_restore TO PUBLIC",
		"schema pgcourier_r": "DROP SCHEMA pgcourier_restore CASCADE; CREATE SCHEMA pgcourier_restore AUTHORIZATION $other; GRANT ALL ON SCHEMA pgcourier_restore TO PUBLIC",
	} {
		to, login, owner := hostileTarget(t)
		p := placement(t, to, "first", restore.Create)
		p.Source, p.Owner = p.Source.WithLogin(login, "p"), owner
		place(t, r, x, p)
		execute(t, to, strings.NewReplacer("$owner", owner, "$other", role(t, "")).Replace(sql))
		p.ID, p.Mode, p.Keep = "second", restore.Replace, 1
		if _, err := r.Place(t.Context(), x.Export, p, nil); !errors.Is(err, restore.ErrMarkers) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: place: %v", what, err)
		}
		if faults, err := restore.MarkerFaults(t.Context(), p.Source, owner); err != nil || !strings.Contains(strings.Join(faults, "; "), what) {
			t.Errorf("%s: found %q, %v", what, faults, err)
		}
		if strings.HasPrefix(what, "rights on") { // what Refuse does not know
			continue
		}
		if _, _, err := r.Refuse(t.Context(), p.Source, "second"); !errors.Is(err, restore.ErrMarkers) {
			t.Errorf("%s: refuse: %v", what, err)
		}
		if strings.HasPrefix(what, "schema") {
			continue
		}
		if _, _, err := r.Committed(t.Context(), p.Source, "first"); !errors.Is(err, restore.ErrMarkers) {
			t.Errorf("%s: committed: %v", what, err)
		}
		if dropped, _, err := r.DropKept(t.Context(), p.Source, always); !errors.Is(err, restore.ErrMarkers) {
			t.Errorf("%s: dropped %v, %v", what, dropped, err)
		}
	}
}
