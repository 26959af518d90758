package e2e_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
)

// tenants adds active projects, each with one table in a schema tenant_<id>.
func (p *platform) tenants(ids ...string) {
	p.t.Helper()
	for _, id := range ids {
		p.exec(fmt.Sprintf(`INSERT INTO control_plane.projects VALUES ('%[1]s', '%[1]s', 'active', 'tenant_%[1]s');
			CREATE SCHEMA tenant_%[1]s; CREATE TABLE tenant_%[1]s.t AS SELECT n, 'row ' || n AS v FROM generate_series(1, 1000) n`, id))
	}
}

func TestADumpThatIsNotWholeIsNeverASuccess(t *testing.T) {
	t.Parallel()
	p := setup(t)
	fakes := fakePgDump(t, `
case "$*" in
*tenant_half*)    "$real" "$@" | head -c 2000; exit 1 ;;
*tenant_silent*)  exit 1 ;;
*tenant_empty*)   exit 0 ;;
*tenant_cut*)     "$real" "$@" | head -c -300; exit 0 ;;
*tenant_row*)     "$real" "$@" | sed '/^500\t/d' ;;
*tenant_table*)   "$real" "$@" --exclude-table-data='*.t' ;;
*tenant_signal*)  "$real" "$@" | head -c 2000; kill -KILL $$ ;;
*tenant_late*)    "$real" "$@"; exit 1 ;;
*)                exec "$real" "$@" ;;
esac`)
	want := map[string]codes.Code{
		"half": codes.DumpFailed, "silent": codes.DumpFailed, "signal": codes.DumpFailed, "late": codes.DumpFailed,
		"empty": codes.DumpIncomplete, "cut": codes.DumpIncomplete, "row": codes.DumpIncomplete, "table": codes.DumpIncomplete,
	}
	for id := range want {
		p.tenants(id)
	}
	p.start("CONCURRENCY=4", "PG_BIN_DIR="+fakes)
	for id := range want {
		p.request(events.Requested{ProjectID: id, RequestID: "r"})
	}
	p.request(events.Requested{ProjectID: "globex", RequestID: "r"})
	for id, code := range want {
		if f := p.failed(id, "r", code, 3); f.Permanent {
			t.Errorf("%s: permanent", id)
		}
		if n := strings.Count(strings.Join(executed(t, fakes), "\n"), "tenant_"+id); n != 3 {
			t.Errorf("%s: pg_dump ran %d times, want 3", id, n)
		}
	}
	p.completed("globex", "r")
	p.settled()
	for _, f := range p.stored() {
		if !strings.HasPrefix(f, "globex/") {
			t.Errorf("visible: %s", f)
		}
	}
}

func TestAHangingDumpIsKilledAtItsTimeout(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.tenants("hang")
	fakes := fakePgDump(t, `case "$*" in *tenant_hang*) trap '' TERM INT HUP; "$real" "$@" | head -c 500; while :; do sleep 1000; done ;; esac; exec "$real" "$@"`)
	p.start("PG_BIN_DIR="+fakes, "TIMEOUT=3s", "STALL_TIMEOUT=1h")
	id := p.request(events.Requested{ProjectID: "hang"})
	if f := p.failed("hang", id, codes.DumpTimeout, 1); !f.Permanent || f.DurationMS < 3000 {
		t.Errorf("failed as %+v", *f)
	}
	if d := p.dumps(); len(d) > 0 {
		t.Errorf("still there when the outcome is announced: %v", d)
	}
	if n := len(executed(t, fakes)); n != 1 {
		t.Errorf("pg_dump ran %d times", n)
	}
}

func TestADumpIsTriedAgainWhenItsServerProcessEnds(t *testing.T) {
	t.Parallel()
	p := setup(t)
	release := p.holdBulk()
	p.start("CONCURRENCY=1", "LOCK_TIMEOUT=5m")
	terminate := func() {
		backend := p.copying()
		p.exec(fmt.Sprintf("SELECT pg_terminate_backend(%d)", backend))
		conn := p.sql()
		eventually(t, "the server process ends", func() bool {
			var n int
			err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", backend).Scan(&n)
			return err == nil && n == 0
		})
	}
	never := p.request(events.Requested{ProjectID: "globex", RequestID: "never"})
	for range 3 {
		terminate()
	}
	f := p.failed("globex", never, codes.DumpFailed, 3)
	if f.Permanent || f.Request == nil || f.Message == "" {
		t.Errorf("failed as %+v", *f)
	}
	p.settled()
	if s := p.stored(); len(s) > 0 {
		t.Errorf("visible: %q", s)
	}
	once := p.request(events.Requested{ProjectID: "globex", RequestID: "once", Compression: events.CompressionNone})
	terminate()
	release()
	c := p.completed("globex", once)
	if c.Attempt != 2 {
		t.Errorf("completed in attempt %d", c.Attempt)
	}
	p.checkWhole(c)
}

// dsn is the platform's database, or another, for another login.
func (p *platform) dsn(user, password, database string) string {
	p.t.Helper()
	u, err := url.Parse(cluster.URL(database))
	if err != nil {
		p.t.Fatal(err)
	}
	u.User = url.UserPassword(user, password)
	return u.String()
}

// demandTLS makes a URL of the cluster, which has no TLS, require it.
func demandTLS(url string) string {
	return strings.Replace(url, "sslmode=disable", "sslmode=require", 1)
}

// No connection to the control plane is made without the TLS that its URL requires.
func TestAControlPlaneWithoutTLSIsLeftWhenItIsDemanded(t *testing.T) {
	t.Parallel()
	p := setup(t)
	for _, args := range [][]string{{"serve"}, {"list"}, {"migrate"}} {
		_, stderr, code := p.cliWith([]string{"DATABASE_URL=" + demandTLS(cluster.URL(p.database))}, args...)
		if code != 5 || !strings.Contains(stderr, "TLS") {
			t.Errorf("%q: exit %d, %s", args, code, stderr)
		}
	}
}

func TestAPermanentFaultCostsOneAttempt(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.tenants("stranger", "nowhere", "forbidden", "policed", "plain")
	reader := "reader_of_" + p.database
	p.exec("CREATE ROLE " + reader + " LOGIN PASSWORD 'reader'")
	t.Cleanup(func() { p.exec("DROP OWNED BY " + reader + "; DROP ROLE " + reader) })
	p.exec(fmt.Sprintf(`GRANT USAGE ON SCHEMA tenant_policed, tenant_forbidden TO %[1]s; GRANT SELECT ON tenant_policed.t TO %[1]s;
		ALTER TABLE tenant_policed.t ENABLE ROW LEVEL SECURITY`, reader))
	for project, dsn := range map[string]string{
		"stranger": p.dsn(reader, "wrong", p.database), "nowhere": p.dsn(reader, "reader", "no_such_database"),
		"forbidden": p.dsn(reader, "reader", p.database), "policed": p.dsn(reader, "reader", p.database),
		"plain": demandTLS(p.dsn(reader, "reader", p.database)),
	} {
		p.exec(fmt.Sprintf("UPDATE control_plane.projects SET dsn = '%s' WHERE id = '%s'", dsn, project))
	}
	const query = "SELECT id, name, upper(status) = 'ACTIVE' AS active, ARRAY[schema_name] AS schemas, dsn FROM control_plane.projects WHERE id = $1"
	refuse := func(project string, code codes.Code) {
		t.Helper()
		id := p.request(events.Requested{ProjectID: project})
		if f := p.failed(project, id, code, 1); !f.Permanent || f.Request == nil {
			t.Errorf("%s: failed as %+v", project, *f)
		}
	}
	w := p.start("MAX_BYTES=100kB", "PROJECT_QUERY="+query)
	refuse("acme", codes.SizeLimit)
	refuse("stranger", codes.SourceAuthFailed)
	refuse("nowhere", codes.SourceNotFound)
	refuse("forbidden", codes.SourceForbidden)
	refuse("policed", codes.RowLevelSecurity)
	refuse("unborn", codes.SchemaNotFound)
	refuse("plain", codes.SourceAuthFailed)
	w.term()
	w.await()
	old := fakePgDumpVersion(t, "echo 'pg_dump (PostgreSQL) 9.6.24'", "exit 1")
	p.start("PG_BIN_DIR=" + old)
	refuse("globex", codes.VersionMismatch)
	if e := executed(t, old); len(e) > 0 {
		t.Errorf("a pg_dump older than the server ran: %q", e)
	}
}
