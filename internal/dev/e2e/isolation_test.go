package e2e_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/dev/faketool"
	"github.com/pgcourier/pgcourier/internal/seal"
)

var tenantCount = flag.Int("tenants", 2, "how many of the tenants the test of isolation sets against each other; make isolation asks for 6")

// tenant is a project with a canary in its data.
type tenant struct{ id, schema, canary string }

func (t tenant) quoted() string { return pgx.Identifier{t.schema}.Sanitize() }

// oddTenants are projects with schemas that are easily confused.
func oddTenants(n int) []tenant {
	all := []tenant{
		{id: "alpha", schema: "tenant_alpha"},
		{id: "wild", schema: `ten*ant_?lpha "x"`},
		{id: "Alpha", schema: "Tenant_Alpha"},
		{id: "alpha1", schema: "tenant_alpha1"},
		{id: "look-alike", schema: "tenant_\u0430lpha"}, // a Cyrillic letter
		{id: "star", schema: "tenant_*"},
	}[:n]
	for i := range all {
		all[i].canary = "canary-" + rand.Text()
	}
	return all
}

// own is the content of each tenant.
func (t tenant) own() string {
	return strings.NewReplacer("$schema", t.schema, "$s", t.quoted(), "$id", t.id, "$canary", t.canary, "$owner", pgx.Identifier{"own_" + t.id}.Sanitize()).Replace(`
CREATE ROLE $owner;
CREATE SCHEMA $s AUTHORIZATION $owner;
CREATE TABLE $s.secrets (id bigserial PRIMARY KEY, canary text);
INSERT INTO $s.secrets (canary) SELECT '$canary' FROM generate_series(1, 20);
CREATE TABLE $s.parts (id int, canary text) PARTITION BY LIST (id);
CREATE TABLE $s.parts_default PARTITION OF $s.parts DEFAULT;
INSERT INTO $s.parts VALUES (0, '$canary');
CREATE FUNCTION $s.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
SELECT lo_from_bytea(0, '$canary');
INSERT INTO control_plane.projects VALUES ('$id', '$id', 'active', '$schema');
`)
}

// snare is an object in a's schema that refers to b's data.
type snare struct{ name, sql string }

// untied are references that pg_dump does not see: their projects still share a dump.
var untied = []snare{
	{"function", "CREATE FUNCTION $a.read_$n() RETURNS SETOF text LANGUAGE sql AS $$ SELECT canary FROM $b.secrets $$"},
	{"definer's function", "CREATE FUNCTION $a.define_$n() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT max(canary) FROM $b.secrets $$"},
	{"default by a function", "CREATE TABLE $a.filled_$n (v text DEFAULT $a.define_$n())"},
	{"generated from a function", "CREATE FUNCTION $a.pure_$n(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT max(canary) FROM $b.secrets $$; CREATE TABLE $a.made_$n (a int, v text GENERATED ALWAYS AS ($a.pure_$n(a)) STORED)"},
	{"shadowed function", "CREATE FUNCTION $a.has_table_privilege_$n(oid, text) RETURNS boolean LANGUAGE sql AS $$ SELECT true FROM $b.secrets $$"},
}

// tied are snares that depend on b's objects in the archive's table of contents.
var tied = []snare{
	{"view", "CREATE VIEW $a.view_$n AS SELECT * FROM $b.secrets"},
	{"materialized view", "CREATE MATERIALIZED VIEW $a.matview_$n AS SELECT * FROM $b.secrets"},
	{"foreign key", "CREATE TABLE $a.refers_$n (id bigint REFERENCES $b.secrets)"},
	{"sequence", "CREATE TABLE $a.counts_$n (id bigint DEFAULT nextval('$b.secrets_id_seq'))"},
	{"inheritance", "CREATE TABLE $a.child_$n () INHERITS ($b.secrets)"},
	{"inheritance the other way", "CREATE TABLE $a.parent_$n (id bigint NOT NULL, canary text); ALTER TABLE $b.secrets INHERIT $a.parent_$n"},
	{"partition elsewhere", "CREATE TABLE $b.part_of_$m (id int, canary text); INSERT INTO $b.part_of_$m VALUES ($n, '$canary'); ALTER TABLE $a.parts ATTACH PARTITION $b.part_of_$m FOR VALUES IN ($n)"},
	{"trigger", "CREATE TABLE $a.watched_$n (v int); CREATE TRIGGER t BEFORE INSERT ON $a.watched_$n FOR EACH ROW EXECUTE FUNCTION $b.touch()"},
	{"rule", "CREATE TABLE $a.ruled_$n (v text); CREATE RULE r AS ON INSERT TO $a.ruled_$n DO ALSO UPDATE $b.secrets SET canary = new.v"},
	{"shadowed catalogue", "CREATE VIEW $a.pg_class_$n AS SELECT * FROM $b.secrets"},
}

// snareSQL sets all the snares for each pair.
func snareSQL(snares []snare, tenants []tenant) string {
	var sql strings.Builder
	for i, a := range tenants {
		for j, b := range tenants {
			if i == j {
				continue
			}
			fill := strings.NewReplacer("$a", a.quoted(), "$b", b.quoted(), "$n", strconv.Itoa(j+1), "$m", strconv.Itoa(i+1), "$canary", b.canary)
			for _, t := range snares {
				sql.WriteString(fill.Replace(t.sql) + ";\n")
			}
		}
	}
	return sql.String()
}

// attack is a message that a's publisher sends to get b's data. completes says for which pairs it
// is still a valid request of a.
type attack struct {
	name      string
	fields    func(a, b tenant) map[string]any
	completes func(a, b tenant) bool
}

func naming(name string, schemas func(a, b tenant) []string) attack {
	return attack{name, func(a, b tenant) map[string]any { return map[string]any{"schemas": schemas(a, b)} },
		func(a, b tenant) bool {
			for _, s := range schemas(a, b) {
				if s != a.schema {
					return false
				}
			}
			return true
		}}
}

func always(tenant, tenant) bool { return true }

func never(tenant, tenant) bool { return false }

var attacks = []attack{
	naming("another's schema", func(_, b tenant) []string { return []string{b.schema} }),
	naming("both schemas", func(a, b tenant) []string { return []string{a.schema, b.schema} }),
	naming("a pattern with *", func(_, b tenant) []string { return []string{b.schema[:len(b.schema)-1] + "*"} }),
	naming("a pattern with ?", func(_, b tenant) []string { return []string{b.schema[:len(b.schema)-1] + "?"} }),
	naming("a pattern for all", func(_, _ tenant) []string { return []string{"*"} }),
	naming("a regular expression", func(a, b tenant) []string { return []string{"(" + a.schema + "|" + b.schema + ")"} }),
	naming("quoted", func(_, b tenant) []string { return []string{b.quoted()} }),
	naming("closing the quote", func(a, b tenant) []string { return []string{a.schema + `" "` + b.schema} }),
	naming("an option", func(_, b tenant) []string { return []string{"--schema=" + b.schema} }),
	naming("upper case", func(_, b tenant) []string { return []string{strings.ToUpper(b.schema)} }),
	naming("lower case", func(_, b tenant) []string { return []string{strings.ToLower(b.schema)} }),
	naming("a look-alike", func(_, b tenant) []string { return []string{strings.Replace(b.schema, "a", "\u0430", 1)} }),
	naming("a qualified name", func(a, b tenant) []string { return []string{a.schema + "." + b.schema} }),
	naming("a trailing space", func(_, b tenant) []string { return []string{b.schema + " "} }),
	{"a path upwards", func(_, b tenant) map[string]any { return map[string]any{"storage_path": "../" + b.id} }, never},
	{"an encoded path upwards", func(_, b tenant) map[string]any { return map[string]any{"storage_path": "%2e%2e/" + b.id} }, never},
	{"an absolute path", func(_, b tenant) map[string]any { return map[string]any{"storage_path": "/" + b.id} }, never},
	{"another's id as a label", func(_, b tenant) map[string]any { return map[string]any{"storage_path": b.id} }, always},
	{"another's request id", func(_, b tenant) map[string]any { return map[string]any{"request_id": "own-" + b.id} }, always},
	{"another's project on one's subject", func(_, b tenant) map[string]any { return map[string]any{"project_id": b.id} }, nil},
	{"a row that lists another's schema", func(a, b tenant) map[string]any { return map[string]any{"project_id": thief(a, b)} }, never},
}

// thief is a project of the control plane with the role of a and, wrongly, the schema of b.
func thief(a, b tenant) string { return "thief-" + a.id + "-" + b.id }

// TestNoTenantGetsAnothersData runs first with a worker that may read everything and dumps the
// tenants together, then with the documented rights.
func TestNoTenantGetsAnothersData(t *testing.T) {
	tenants := oddTenants(*tenantCount)
	var sql strings.Builder
	sql.WriteString("TRUNCATE control_plane.projects;\n")
	for _, a := range tenants {
		sql.WriteString(a.own())
	}
	sql.WriteString(snareSQL(untied, tenants))
	l := setupLeast(t, sql.String())
	l.migrate()
	sent := map[string]sent{}
	if n := l.together(tenants, "untied-", sent); n == 0 {
		t.Error("no two tenants were dumped together")
	}
	l.exec(snareSQL(tied, tenants))
	if n := l.together(tenants, "tied-", sent); n == 0 {
		t.Error("tenants that depend on each other were never grouped")
	}
	l.exec(document(t, "least-privilege.sql")) // there are more objects to grant rights on
	for _, a := range tenants {
		for _, b := range tenants {
			if a.id == b.id {
				continue
			}
			l.exec(fmt.Sprintf(`INSERT INTO control_plane.projects SELECT '%[1]s', '%[1]s', 'active', schema_name FROM control_plane.projects WHERE id = '%[3]s';
ALTER TABLE pgcourier_access.dump_roles DROP CONSTRAINT IF EXISTS dump_roles_role_key;
INSERT INTO pgcourier_access.dump_roles SELECT '%[1]s', role FROM pgcourier_access.dump_roles WHERE project_id = '%[2]s'`, thief(a, b), a.id, b.id))
		}
	}
	l.start(append(l.settings, "CONCURRENCY=4")...)
	l.exportOwn(tenants, "own-", sent)
	l.attackAll(tenants, sent)
	l.settled()
	l.judge(tenants, sent)
	leaks := l.leaks(tenants)
	vectors := len(attacks) + len(untied) + len(tied)
	t.Logf("isolation: %d tenants × %d vectors (%d messages, %d kinds of objects; %d pairs, %d messages in all, %d formats, together and alone), %d leaks",
		len(tenants), vectors, len(attacks), len(untied)+len(tied), len(tenants)*(len(tenants)-1), len(sent), len(formats), leaks)
}

// together lets a superuser's worker export the content of each tenant while all of them wait, and
// counts the dumps of several tenants.
func (l *least) together(tenants []tenant, prefix string, out map[string]sent) (dumps int) {
	l.t.Helper()
	l.exportOwn(tenants, prefix, out)
	fakes := fakePgDump(l.t, `exec "$real" "$@"`)
	// The pg_restore beside the pg_dump makes scripts of the shared archive.
	faketool.Install(l.t, filepath.Join(fakes, "pg_restore"), "#!/bin/sh\nexec "+cluster.BinDir+"/pg_restore \"$@\"\n")
	w := l.start("CONCURRENCY=1", "MAX_WAITING_PER_PROJECT=1000", "PG_BIN_DIR="+fakes)
	l.settled()
	w.term()
	w.await()
	for _, args := range executed(l.t, fakes) {
		if strings.Count(args, "--schema=") > 1 {
			dumps++
		}
	}
	return dumps
}

// formats are all formats, each with the prefix of its ids.
var formats = map[string]events.Format{"": events.FormatSQL, "-tar": events.FormatTar, "-custom": events.FormatCustom, "-directory": events.FormatDirectory}

// exportOwn requests the content of each tenant, in each format.
func (l *least) exportOwn(tenants []tenant, prefix string, out map[string]sent) {
	l.t.Helper()
	yes := true
	for suffix, f := range formats {
		for _, a := range tenants {
			id := prefix + a.id + suffix
			l.request(events.Requested{ProjectID: a.id, RequestID: id, Format: f})
			out[a.id+"/"+id] = sent{"its own", &yes}
		}
	}
}

// sent is a message, and whether it should have completed; nil: both are possible.
type sent struct {
	what      string
	completes *bool
}

// attackAll sends every attack of each tenant.
func (l *least) attackAll(tenants []tenant, out map[string]sent) {
	l.t.Helper()
	n := 0
	for _, a := range tenants {
		for _, b := range tenants {
			for _, k := range attacks {
				if a.id == b.id {
					continue
				}
				n++
				body := map[string]any{"project_id": a.id, "request_id": fmt.Sprintf("attack-%d", n)}
				for name, value := range k.fields(a, b) {
					body[name] = value
				}
				text, err := json.Marshal(body)
				if err != nil {
					l.t.Fatal(err)
				}
				subject := a.id
				if k.name == "a row that lists another's schema" {
					subject = thief(a, b)
				}
				l.publish("backup.requested."+subject, nil, string(text))
				s := sent{what: k.name + " by " + a.id + " of " + b.id}
				if k.completes != nil {
					ok := k.completes(a, b)
					s.completes = &ok
				}
				out[fmt.Sprintf("%v/%v", body["project_id"], body["request_id"])] = s
			}
		}
	}
}

// judge compares every outcome with the expected one, and finds its export in the right place.
func (l *least) judge(tenants []tenant, want map[string]sent) {
	l.t.Helper()
	schemas := map[string]string{}
	for _, a := range tenants {
		schemas[a.id] = a.schema
	}
	eventually(l.t, "all outcomes", func() bool { return int(l.stream(events.StreamOutcomes).State.Msgs) == l.outcomes })
	for seq := range l.outcomes {
		_, out := l.announced(uint64(seq + 1))
		project, id := out.IDs()
		w, known := want[project+"/"+id]
		if known && w.completes != nil && *w.completes != (out.Completed != nil) {
			l.t.Errorf("%s: %s/%s ended as %+v, %+v", w.what, project, id, out.Completed, out.Failed)
		}
		if f := out.Failed; f != nil && (f.Attempts != 1 || !f.Permanent) {
			l.t.Errorf("%s: failed as %+v, want permanently, at once", w.what, *f)
		}
		if strings.HasPrefix(project, "thief-") && (out.Failed == nil || out.Failed.Code != "source_forbidden") {
			l.t.Errorf("%s ended as %+v, %+v, want source_forbidden", project, out.Completed, out.Failed)
		}
		if c := out.Completed; c != nil && (!strings.HasPrefix(c.Storage[0].URI, "file:"+project+"/") || len(c.Schemas) != 1 || c.Schemas[0] != schemas[project]) {
			l.t.Errorf("%s/%s completed at %s with %q", project, id, c.Storage[0].URI, c.Schemas)
		}
	}
}

// leaks searches each stored file, as it is and decoded, for every other tenant's canary.
func (l *least) leaks(tenants []tenant) (found int) {
	l.t.Helper()
	owners := map[string]bool{}
	for _, key := range l.stored() {
		project, _, _ := strings.Cut(key, "/")
		stored, err := os.ReadFile(filepath.Join(l.storage, key))
		if err != nil {
			l.t.Fatal(err)
		}
		text := append(stored, '\n')
		if !strings.HasSuffix(key, ".json") {
			plain, err := seal.Open(bytes.NewReader(stored), seal.Gzip, nil)
			if err != nil {
				l.t.Fatalf("%s: %v", key, err)
			}
			decoded, err := io.ReadAll(plain)
			if err != nil {
				l.t.Fatalf("%s: %v", key, err)
			}
			text = append(text, decoded...)
		}
		for _, other := range tenants {
			switch holds := bytes.Contains(text, []byte(other.canary)); {
			case holds && other.id == project:
				owners[project] = true
			case holds:
				found++
				l.t.Errorf("%s holds data of %s", key, other.id)
			}
		}
	}
	if len(owners) != len(tenants) {
		l.t.Errorf("only %v are found to hold their own canary: the search finds nothing", owners)
	}
	for _, w := range l.workers {
		for _, other := range tenants {
			if strings.Contains(w.logs.String(), other.canary) {
				found++
				l.t.Errorf("the worker's log holds data of %s", other.id)
			}
		}
	}
	return found
}
