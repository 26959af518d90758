package restore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// proxy is a way to the server that stops at a statement.
type proxy struct {
	listener net.Listener
	pattern  []byte
	// reached is closed when a client sends the pattern. Its bytes wait until release is closed.
	reached, release chan struct{}
	// lose closes the client's connection after the server has answered the pattern, and keeps the
	// answer.
	lose bool
	once sync.Once
}

// newProxy returns a proxy for one statement, and the source that leads through it.
func newProxy(t *testing.T, database, pattern string) (*proxy, *libpq.Source) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, pattern: []byte(pattern), reached: make(chan struct{}), release: make(chan struct{})}
	var serving sync.WaitGroup
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.serve(ctx, client) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		serving.Wait()
	})
	u, err := url.Parse(cluster.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	u.Host = l.Addr().String()
	s, err := libpq.Parse(secret.String(u.String()))
	if err != nil {
		t.Fatal(err)
	}
	return p, s
}

func (p *proxy) serve(ctx context.Context, client net.Conn) {
	defer func() { _ = client.Close() }()
	u, err := url.Parse(cluster.URL("postgres"))
	if err != nil {
		return
	}
	server, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	defer context.AfterFunc(ctx, func() { _, _ = client.Close(), server.Close() })()
	losing := make(chan struct{}, 1)
	back := make(chan struct{})
	go func() {
		defer close(back)
		b := make([]byte, 64<<10)
		for {
			n, err := server.Read(b)
			select {
			case <-losing:
				_ = client.Close()
				return
			default:
			}
			if err == nil {
				_, err = client.Write(b[:n])
			}
			if err != nil {
				_ = client.Close()
				return
			}
		}
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := client.Read(b)
		if err != nil {
			break
		}
		if bytes.Contains(b[:n], p.pattern) {
			first := false
			p.once.Do(func() { first = true })
			if first {
				close(p.reached)
				select {
				case <-p.release:
				case <-ctx.Done():
				}
				if p.lose {
					losing <- struct{}{}
				}
			}
		}
		if _, err := server.Write(b[:n]); err != nil {
			break
		}
	}
	_ = server.Close()
	<-back
}

const (
	atCommit = "COMMIT\x00"
	atMarker = "INSERT INTO pgcourier_restore.markers (id, state, placed)"
)

// shop is a target with a shop that differs from the export, and the export.
type shop struct {
	*testing.T
	x        *stored
	database string
	before   map[string]contents.Table
	after    map[string]contents.Table
}

func newShop(t *testing.T) *shop {
	t.Helper()
	from := database(t, shopSQL)
	s := &shop{T: t, x: sealed(t, dump(t, from, export.Custom, "tenant"), kind{format: export.Custom, compression: seal.Plain}, "tenant"), after: read(t, from, "tenant")}
	s.database = from
	// The first placement makes the place of the markers.
	place(t, restorer(restore.Config{}), s.x, placement(t, from, "earlier", restore.Replace))
	execute(t, from, "UPDATE tenant.orders SET note = 'mistake'; DELETE FROM tenant.parts")
	s.before = read(t, from, "tenant")
	return s
}

// unchanged and restored check what the target holds.
func (s *shop) unchanged(what string) {
	s.Helper()
	if diffs := contents.Compare(s.before, read(s.T, s.database, "tenant")); len(diffs) > 0 {
		s.Errorf("%s: the target has changed: %v", what, diffs)
	}
	if n := value[int](s.T, s.database, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'tenant_before%'"); n != 1 {
		s.Errorf("%s: %d kept schemas, want that of the first placement", what, n)
	}
}

func (s *shop) restored(what string) {
	s.Helper()
	if diffs := contents.Compare(s.after, read(s.T, s.database, "tenant")); len(diffs) > 0 {
		s.Errorf("%s: the target holds something else: %v", what, diffs)
	}
}

// begin starts a placement through a proxy, and waits until it sends the pattern.
func (s *shop) begin(ctx context.Context, id, pattern string, lose bool) (*proxy, <-chan error) {
	s.Helper()
	p, source := newProxy(s.T, s.database, pattern)
	p.lose = lose
	at := placement(s.T, s.database, id, restore.Replace)
	at.Source = source
	done := make(chan error, 1)
	go func() {
		_, err := restorer(restore.Config{}).Place(ctx, s.x.Export, at, nil)
		done <- err
	}()
	select {
	case <-p.reached:
	case err := <-done:
		s.Fatalf("it ended before the statement: %v", err)
	}
	return p, done
}

func TestALostAnswerToCommitIsFound(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p, done := s.begin(t.Context(), "lost", atCommit, true)
	close(p.release)
	if err := <-done; err != nil {
		t.Errorf("COMMIT was executed, its answer lost: %v", err)
	}
	s.restored("after COMMIT")
}

func TestARefusedAttemptNeverCommits(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	src, r := target(t, s.database).Source, restorer(restore.Config{})
	p, done := s.begin(t.Context(), "paused", atCommit, false)
	if _, committed, err := r.Refuse(t.Context(), src, "paused"); err != nil || committed {
		t.Errorf("committed %t, %v", committed, err)
	}
	close(p.release)
	if err := <-done; !errors.Is(err, restore.ErrTarget) {
		t.Errorf("the paused attempt: %v", err)
	}
	s.unchanged("after the refusal")
	if _, err := r.Place(t.Context(), s.x.Export, placement(t, s.database, "paused", restore.Replace), nil); !errors.Is(err, restore.ErrRefused) {
		t.Errorf("placed after the refusal: %v", err)
	}
	// The attempt's session cannot always be ended: then it fails at its marker.
	p, done = s.begin(t.Context(), "late", atMarker, false)
	execute(t, s.database, "INSERT INTO pgcourier_restore.markers (id, state) VALUES ('late', 'refused')")
	close(p.release)
	if err := <-done; !errors.Is(err, restore.ErrRefused) {
		t.Errorf("the late attempt: %v", err)
	}
	s.unchanged("after the tombstone")
	place(t, r, s.x, placement(t, s.database, "then", restore.Replace))
	s.restored("then")
	if placed, committed, err := r.Refuse(t.Context(), src, "then"); err != nil || !committed || placed.Rows() != 310 {
		t.Errorf("refused after COMMIT: %t, %+v, %v", committed, placed, err)
	}
}

func TestANewAttemptEndsTheOldOne(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p, done := s.begin(t.Context(), "twice", atMarker, false)
	second := place(t, restorer(restore.Config{}), s.x, placement(t, s.database, "twice", restore.Replace))
	close(p.release)
	if err := <-done; !errors.Is(err, restore.ErrTarget) {
		t.Errorf("the first attempt: %v", err)
	}
	s.restored("after the second attempt")
	if n := value[int](t, s.database, "SELECT count(*) FROM pgcourier_restore.kept WHERE id = 'twice'"); n != 1 || len(second.Kept) != 1 {
		t.Errorf("%d kept schemas", n)
	}
	// One that is paused at its COMMIT ends before the other begins.
	p, done = s.begin(t.Context(), "again", atCommit, false)
	place(t, restorer(restore.Config{}), s.x, placement(t, s.database, "again", restore.Replace))
	close(p.release)
	if err := <-done; err != nil && !errors.Is(err, restore.ErrTarget) {
		t.Errorf("the paused attempt: %v", err)
	}
	s.restored("after both")
}

func TestTwoRestoresIntoOneSchemaTakeTurns(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p, done := s.begin(t.Context(), "one", "CREATE INDEX", false)
	s.unchanged("in the middle: other sessions use the old tables")
	impatient := restorer(restore.Config{LockWait: 50 * time.Millisecond})
	if _, err := impatient.Place(t.Context(), s.x.Export, placement(t, s.database, "two", restore.Replace), nil); !errors.Is(err, restore.ErrBusy) {
		t.Errorf("the second restore: %v", err)
	}
	close(p.release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	s.restored("after the first")
}

func TestACancelledPlacementChangesNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("cancelled by hand")
	_, done := s.begin(ctx, "cancelled", atCommit, false)
	cancel(why)
	if err := <-done; !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	s.unchanged("after the cancellation")
}

func TestAPlacementThatIsRefusedChangesNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	impatient := restorer(restore.Config{LockWait: 50 * time.Millisecond})
	replace := func(id string) restore.Placement { return placement(t, s.database, id, restore.Replace) }
	place(t, restorer(restore.Config{}), s.x, replace("ok"))
	execute(t, s.database, "DROP SCHEMA \""+value[string](t, s.database, "SELECT name FROM pgcourier_restore.kept WHERE id = 'ok'")+"\" CASCADE; UPDATE tenant.orders SET note = 'mistake'")
	s.before = read(t, s.database, "tenant")

	conn := connect(t, s.database)
	if _, err := conn.PgConn().Exec(t.Context(), "SET application_name = 'the shop'; BEGIN; SELECT count(*) FROM tenant.orders").ReadAll(); err != nil {
		t.Fatal(err)
	}
	if _, err := impatient.Place(t.Context(), s.x.Export, replace("in-use"), nil); !errors.Is(err, restore.ErrInUse) || !strings.Contains(err.Error(), "the shop") {
		t.Errorf("in use: %v", err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.unchanged("in use")

	for _, c := range []struct{ what, make, undo, names string }{
		{"a view", "CREATE SCHEMA o; CREATE VIEW o.v AS SELECT count(*) FROM tenant.orders", "DROP SCHEMA o CASCADE", "view o.v"},
		{"a foreign key", "CREATE SCHEMA o; CREATE TABLE o.t (id int REFERENCES tenant.orders)", "DROP SCHEMA o CASCADE", "o.t"},
		{"a publication", "CREATE PUBLICATION p FOR TABLE tenant.orders", "DROP PUBLICATION p", "publication"},
		{"a function", "CREATE SCHEMA o; CREATE FUNCTION o.f(tenant.orders) RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP SCHEMA o CASCADE", "function o.f"},
	} {
		execute(t, s.database, c.make)
		for _, tables := range [][]string{nil, {"orders"}} {
			p := replace("dependents")
			p.Tables = tables
			var dependents *restore.DependentsError
			if _, err := impatient.Place(t.Context(), s.x.Export, p, nil); !errors.As(err, &dependents) || !strings.Contains(err.Error(), c.names) {
				t.Errorf("%s, tables %v: %v", c.what, tables, err)
			}
			if _, err := impatient.Plan(t.Context(), s.x.Export, p, nil); !errors.As(err, &dependents) {
				t.Errorf("%s, plan of tables %v: %v", c.what, tables, err)
			}
		}
		execute(t, s.database, c.undo)
		s.unchanged(c.what)
	}
	// A reference to something outside is no obstacle.
	execute(t, s.database, "CREATE SCHEMA o; CREATE TABLE o.plans (id int PRIMARY KEY); ALTER TABLE tenant.people ADD plan int REFERENCES o.plans")
	if plan, err := impatient.Plan(t.Context(), s.x.Export, replace("refers"), nil); err != nil || len(plan.Aside) != 1 {
		t.Errorf("a foreign key to another schema: %+v, %v", plan, err)
	}
	execute(t, s.database, "ALTER TABLE tenant.people DROP plan; DROP SCHEMA o CASCADE")
	// A partition, and a table that a view of the same schema reads.
	for table, names := range map[string]string{"parts_a": "tenant.parts", "parts": "materialized view tenant.counted", "people": "tenant.orders"} {
		p := replace("part")
		p.Tables = []string{table}
		var dependents *restore.DependentsError
		if _, err := impatient.Place(t.Context(), s.x.Export, p, nil); !errors.As(err, &dependents) || !strings.Contains(err.Error(), names) {
			t.Errorf("table %s: %v", table, err)
		}
		s.unchanged("table " + table)
	}

	execute(t, s.database, "ALTER DATABASE "+s.database+" SET default_transaction_read_only = on")
	if _, err := impatient.Place(t.Context(), s.x.Export, replace("read-only"), nil); !errors.Is(err, restore.ErrTarget) {
		t.Errorf("read-only: %v", err)
	}
	execute(t, "postgres", "ALTER DATABASE "+s.database+" RESET default_transaction_read_only")
	s.unchanged("read-only")

	weak, other := role(t, "LOGIN PASSWORD 'p'"), role(t, "")
	for what, change := range map[string]func(*restore.Placement){
		"a weak login":        func(p *restore.Placement) { p.Source = p.Source.WithLogin(weak, "p") },
		"an owner of another": func(p *restore.Placement) { p.Source, p.Owner = p.Source.WithLogin(weak, "p"), other },
		"an unknown owner":    func(p *restore.Placement) { p.Owner = "nobody here" },
	} {
		p := replace("forbidden")
		change(&p)
		if _, err := impatient.Place(t.Context(), s.x.Export, p, nil); !errors.Is(err, restore.ErrForbidden) {
			t.Errorf("%s: %v", what, err)
		}
	}
	s.unchanged("forbidden")
}

func TestAFaultyExportIsNotPlaced(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	r := restorer(restore.Config{})
	plain := dump(t, s.database, export.SQL, "tenant")
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	sql := kind{format: export.SQL, compression: seal.Plain}
	inserted := func(statement string) *stored {
		return sealed(t, bytes.Replace(plain, []byte("\nCREATE TABLE"), []byte("\n"+statement+"\nCREATE TABLE"), 1), sql, "tenant")
	}
	damaged := sealed(t, plain, sql, "tenant")
	damaged.readings(func(b []byte) io.Reader { b[len(b)/2] ^= 1; return bytes.NewReader(b) })
	changed := sealed(t, plain, sql, "tenant")
	changed.readings(whole, func(b []byte) io.Reader {
		return bytes.NewReader(bytes.Replace(b, []byte("MISTAKE"), []byte("mistake"), 1))
	})
	sealedAway := sealed(t, plain, kind{export.SQL, seal.Plain, identity}, "tenant")
	sealedAway.Identities = nil
	full := inserted("CREATE FUNCTION tenant.full() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION USING ERRCODE = ''53100''; END';\nCREATE DOMAIN tenant.d AS int CHECK (tenant.full());\nCREATE TABLE tenant.x AS SELECT 1::tenant.d;")
	for _, c := range []struct {
		what string
		x    *stored
		want error
	}{
		{"damaged", damaged, restore.ErrUnverified},
		{"changed after the check", changed, restore.ErrUnverified},
		{"encrypted, without a key", sealedAway, restore.ErrIdentity},
		{"with a full disk", full, restore.ErrTarget},
	} {
		if _, err := r.Place(t.Context(), c.x.Export, placement(t, s.database, "bad", restore.Replace), nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
		s.unchanged(c.what)
	}
	for _, statement := range []string{"CREATE TABLE tenant.x (y nonsense);", "COMMIT;", "SET ROLE other;", "SELECT evil();", "DROP SCHEMA tenant;"} {
		var rejected *restore.RejectedError
		if _, err := r.Place(t.Context(), inserted(statement).Export, placement(t, s.database, "bad", restore.Replace), nil); !errors.As(err, &rejected) {
			t.Errorf("%s %v", statement, err)
		}
		s.unchanged(statement)
	}
	for what, p := range map[string]restore.Placement{
		"no id":                {Source: target(t, s.database).Source, Mode: restore.Create},
		"no mode":              {ID: "x", Source: target(t, s.database).Source},
		"no time":              {ID: "x", Source: target(t, s.database).Source, Mode: restore.Replace},
		"an unknown schema":    {ID: "x", Source: target(t, s.database).Source, Mode: restore.Create, Schemas: []string{"x"}},
		"a system's name":      {ID: "x", Source: target(t, s.database).Source, Mode: restore.Create, Schema: "pg_x"},
		"no throw-away server": {ID: "x", Source: target(t, s.database).Source, Mode: restore.Create, Schema: "copy"},
	} {
		if _, err := r.Place(t.Context(), s.x.Export, p, nil); !errors.Is(err, restore.ErrPlacement) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A foreign key locks the table that it references against writes until COMMIT, so those to tables of
// others are made after the rows are counted.
func TestForeignKeysToOthersAreMadeLast(t *testing.T) {
	t.Parallel()
	owner := role(t, "")
	from := database(t, "CREATE SCHEMA o; CREATE TABLE o.plans (id int PRIMARY KEY); INSERT INTO o.plans VALUES (1)"+
		"; CREATE SCHEMA tenant; CREATE TABLE tenant.people (id int PRIMARY KEY, plan int REFERENCES o.plans); CREATE TABLE tenant.pets (owner int REFERENCES tenant.people);"+
		"COMMENT ON CONSTRAINT people_plan_fkey ON tenant.people IS 'a'; COMMENT ON CONSTRAINT people_pkey ON tenant.people IS 'b'; COMMENT ON CONSTRAINT pets_owner_fkey ON tenant.pets IS 'c'")
	s := &shop{T: t, database: from, x: sealed(t, dump(t, from, export.SQL, "tenant"), kind{format: export.SQL, compression: seal.Plain}, "tenant")}
	want := script(t, from, "tenant")
	for _, c := range []struct {
		id     string
		tables []string
	}{{"table", []string{"pets"}}, {"whole", nil}} {
		id, tables := c.id, c.tables
		p, source := newProxy(t, from, "hashtextextended(textin")
		at := placement(t, from, id, restore.Replace)
		at.Source, at.Owner, at.Tables = source, owner, tables
		done := make(chan error, 1)
		go func() {
			_, err := restorer(restore.Config{}).Place(t.Context(), s.x.Export, at, nil)
			done <- err
		}()
		select {
		case <-p.reached:
		case err := <-done:
			t.Fatal(err)
		}
		if n := value[int](t, from, "SELECT count(*) FROM pg_locks WHERE relation IN ('o.plans'::regclass, 'tenant.people'::regclass) AND mode = 'ShareRowExclusiveLock'"); n != 0 {
			t.Errorf("%s: %d locks against writes while the rows are counted", id, n)
		}
		close(p.release)
		if err := <-done; err != nil {
			t.Errorf("%s: %v", id, err)
		}
		if got := script(t, from, "tenant"); got != want {
			t.Errorf("%s: other definitions: %s", id, firstDifference(got, want))
		}
		if id == "table" && value[bool](t, from, "SELECT has_schema_privilege('"+owner+"', 'tenant', 'CREATE')") {
			t.Error("the table's owner has kept the right to create others")
		}
	}
}
