package e2e_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
)

var badInputReport = flag.String("bad-input", "", "run the whole catalogue of bad input, not a selection, and write the verdicts to this file")

// bystander is the project with exports that must complete, with any input of the others.
const bystander = "globex"

// Every case of the catalogue goes through a real broker to a real worker, its own process, while
// the exports of a bystander run. A wrapper records each start of pg_dump, psql and pg_restore: a
// refused message starts none of them.
func TestBadInput(t *testing.T) {
	t.Parallel()
	c := newCatalogue(t, readCases(t, *badInputReport != ""))
	beside, end := c.startBystander()
	for _, one := range c.cases {
		beside()
		c.run(one)
	}
	n := end()
	c.settled() // each message was acknowledged
	for _, consumer := range []struct{ stream, name string }{{events.StreamRequests, events.ConsumerExport}, {events.StreamIntake, events.ConsumerIntake}} {
		if n := c.consumer(consumer.stream, consumer.name).NumRedelivered; n != 0 {
			t.Errorf("%d messages of %s were delivered again", n, consumer.stream)
		}
	}
	if got := c.recorder.bystanders(); got != n {
		t.Errorf("pg_dump ran %d times for %d exports of the bystander", got, n)
	}
	if _, err := os.Stat(trap); !os.IsNotExist(err) {
		t.Errorf("a hostile name had an effect: %v", err)
	}
	c.lines = append(c.lines,
		fmt.Sprintf("%d processes started by what was refused; %d exports of the bystander completed", c.started, n),
		fmt.Sprintf("bad input: %d of %d", c.passed, len(c.cases)))
	t.Log(c.lines[len(c.lines)-2] + "; " + c.lines[len(c.lines)-1])
	if *badInputReport == "" {
		return
	}
	if err := os.WriteFile(*badInputReport, []byte(strings.Join(c.lines, "\n")+"\n"), 0o600); err != nil {
		t.Error(err)
	}
}

// trap is a file that the hostile names of the catalogue would make if a program obeyed them.
const trap = "/tmp/trap"

// catalogue is a platform on which the cases run one after the other.
type catalogue struct {
	*platform
	cases    []badCase
	recorder *recorder
	raw      *rawConn
	restored string // a database
	next     uint64 // of the outcomes to look at
	dumps    int    // that accepted cases explain
	started  int    // processes that no case explains
	passed   int
	lines    []string // of the report
}

func newCatalogue(t *testing.T, cases []badCase) *catalogue {
	t.Helper()
	c := &catalogue{platform: setup(t), cases: cases, recorder: newRecorder(t), next: 1}
	c.project("good", "tenant_good")
	for _, one := range cases {
		for _, name := range one.Beside {
			c.schema(name, "foreign")
		}
		if one.Owns != "" {
			c.project(strings.TrimPrefix(one.Subject, "backup.requested."), one.Owns)
		}
	}
	c.restored = c.database + "_restored"
	if err := executeIn(t.Context(), "postgres", "CREATE DATABASE "+c.restored); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := executeIn(c.ctx, "postgres", "DROP DATABASE "+c.restored+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	// Each started process belongs to one request then.
	c.startBinary(built(t), "CONCURRENCY=2", "GROUP_MAX=1", "PG_BIN_DIR="+c.recorder.dir)
	c.raw = c.rawConnection()
	c.recorder.begin()
	return c
}

// schema makes a schema with a table that contains its owner's name.
func (c *catalogue) schema(name, whose string) {
	c.t.Helper()
	table := pgx.Identifier{name, "order items"}.Sanitize()
	c.exec(fmt.Sprintf("CREATE SCHEMA IF NOT EXISTS %s; CREATE TABLE IF NOT EXISTS %s (id int, what text); INSERT INTO %s SELECT n, '%s ' || n FROM generate_series(1, 50) n",
		pgx.Identifier{name}.Sanitize(), table, table, whose))
}

func (c *catalogue) project(id, schema string) {
	c.t.Helper()
	c.schema(schema, "of "+id)
	conn, err := pgx.Connect(c.ctx, cluster.URL(c.database))
	if err == nil {
		_, err = conn.Exec(c.ctx, "INSERT INTO control_plane.projects VALUES ($1, $1, 'active', $2)", id, schema)
		err = errors.Join(err, conn.Close(c.ctx))
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// startBystander requests an export whenever beside is called and none runs. end stops that and
// returns how many there were; each must complete with all its rows.
func (c *catalogue) startBystander() (beside func(), end func() int) {
	turns, done := make(chan struct{}, 1), make(chan error, 1)
	n := 0
	export := func() error {
		id, err := c.client.RequestBackup(c.ctx, events.Requested{ProjectID: bystander, Compression: events.CompressionNone})
		if err != nil {
			return err
		}
		n++
		out, err := c.client.Await(c.ctx, bystander, id)
		if err == nil && (out.Completed == nil || out.Completed.Rows != 100 || out.Completed.Attempt != 1) {
			err = fmt.Errorf("the bystander's export ended as %+v %+v", out.Completed, out.Failed)
		}
		return err
	}
	go func() {
		for range turns {
			if err := export(); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	beside = func() {
		select {
		case turns <- struct{}{}:
		default:
		}
	}
	return beside, func() int {
		close(turns)
		if err := <-done; err != nil {
			c.t.Error(err)
		}
		c.outcomes += n
		return n
	}
}

// outcome returns the next outcome that is not the bystander's. One of an earlier case is a fault.
func (c *catalogue) outcome(id string) events.Outcome {
	c.t.Helper()
	for {
		_, out := c.announced(c.next)
		c.next++
		project, request := out.IDs()
		switch {
		case project == bystander:
		case strings.HasPrefix(request, "bad-") && request != id:
			c.t.Errorf("an unexpected or late outcome: %s/%s", project, request)
			c.outcomes++
		default:
			return out
		}
	}
}

// run sends a case, compares the result with the expectation, and records the verdict.
func (c *catalogue) run(one badCase) {
	c.t.Helper()
	id := fmt.Sprintf("bad-%d", len(c.lines))
	if one.Before != "" {
		c.publish(one.Subject, nil, strings.ReplaceAll(one.Before, "{{id}}", id))
		c.dumps++
		if out := c.outcome(id); out.Completed == nil {
			c.t.Errorf("%s: the request before it failed: %+v", one.Name, out.Failed)
		}
	}
	if one.Plant != "" {
		defer c.plant(one.Plant)()
	}
	verdict, err := c.judge(one, id)
	if extra := c.recorder.others() - c.dumps; extra != 0 {
		err = errors.Join(err, fmt.Errorf("%d processes were started: %q", extra, c.recorder.last()))
		c.started += extra
		c.dumps += extra
	}
	if err != nil {
		c.t.Errorf("%s (%s): %v", one.Name, one.Why, err)
		verdict = "NOT as expected: " + err.Error()
	} else {
		c.passed++
	}
	c.lines = append(c.lines, fmt.Sprintf("%-60s %s", one.Name, strings.ReplaceAll(verdict, "\n", " ")))
}

// plant puts a link in the place of an export's folder, to a folder outside the storage. The
// returned function removes it, and fails the test if anything was written through it.
func (c *catalogue) plant(name string) (remove func()) {
	c.t.Helper()
	outside, link := c.t.TempDir(), filepath.Join(c.storage, name)
	err := os.MkdirAll(filepath.Dir(link), 0o700)
	if err == nil {
		err = os.Symlink(outside, link)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return func() {
		if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
			c.t.Errorf("files outside of the storage: %v, %v", left, err)
		}
		if err := os.Remove(link); err != nil {
			c.t.Error(err)
		}
	}
}

// judge sends a case and returns its verdict in words, or the difference.
func (c *catalogue) judge(one badCase, id string) (string, error) {
	c.t.Helper()
	want := one.Expect
	body := one.bytes(c.t, id)
	if want.Verdict == answered {
		return c.ask(one, id, body)
	}
	err := c.send(one, body)
	if want.Verdict == refusedAtThePublisher {
		if err == nil {
			return "", fmt.Errorf("it was published, want %q", want.Error)
		}
		if !strings.Contains(err.Error(), want.Error) {
			return "", fmt.Errorf("publish: %w, want %q", err, want.Error)
		}
		return want.Verdict + ": " + err.Error(), nil
	}
	if err != nil {
		return "", fmt.Errorf("publish: %w", err)
	}
	if want.Verdict == nothingMore { // any other outcome is a fault of the next case
		c.settledFor(one.Subject)
		return want.Verdict, nil
	}
	c.outcomes++
	out := c.outcome(id)
	if want.Verdict == accepted {
		c.dumps++
		return c.accepted(one, out)
	}
	// The refusal ends pg_dump, which may not have recorded its start yet. It was reaped before the
	// outcome, so a record cannot follow.
	c.dumps += min(want.MostDumps, max(0, c.recorder.others()-c.dumps))
	f := out.Failed
	if f == nil {
		return "", fmt.Errorf("completed: %+v", out.Completed)
	}
	verdict := fmt.Sprintf("failed with %s: %s", f.Code, f.Message)
	if string(f.Code) != want.Code || f.Permanent == want.Transient || f.Attempts != want.Attempts || f.ProjectID != want.Project || f.Message == "" {
		return "", fmt.Errorf("%s, permanent %t, %d attempts, of %s", verdict, f.Permanent, f.Attempts, f.ProjectID)
	}
	if (f.RequestID == id) != want.OwnID || !events.ValidRequest(f.RequestID) {
		return "", fmt.Errorf("the refusal's id is %q, sent was %q", f.RequestID, id)
	}
	if strings.ContainsFunc(f.Message, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", fmt.Errorf("the message is not plain: %q", f.Message)
	}
	return verdict, nil
}

// accepted checks an export that had to complete: it must hold its own schema only, and all of it.
func (c *catalogue) accepted(one badCase, out events.Outcome) (string, error) {
	c.t.Helper()
	got := out.Completed
	if got == nil {
		return "", fmt.Errorf("failed: %+v", out.Failed)
	}
	own := one.Schemas
	switch {
	case one.Owns != "":
		own = []string{one.Owns}
	case own == nil:
		own = []string{"tenant_good"}
	}
	if !slices.Equal(got.Schemas, own) || got.Attempt != 1 || got.Rows != 50 {
		return "", fmt.Errorf("completed %q with %d rows in attempt %d", got.Schemas, got.Rows, got.Attempt)
	}
	if one.Owns != "" {
		if err := c.restore(strings.TrimPrefix(got.Storage[0].URI, "file:"), one.Owns); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s: %q exported", accepted, own), nil
}

// restore feeds an export to psql: it must add this schema, nothing else, with the same contents as
// in the source.
func (c *catalogue) restore(key, schema string) error {
	c.t.Helper()
	before, err := c.schemas()
	if err != nil {
		return err
	}
	psql, err := cluster.Client(c.ctx, c.restored, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-f", filepath.Join(c.storage, key))
	if err != nil {
		return err
	}
	if text, err := psql.CombinedOutput(); err != nil {
		return fmt.Errorf("psql: %w: %s", err, text)
	}
	after, err := c.schemas()
	if err != nil {
		return err
	}
	if added := slices.DeleteFunc(after, func(s string) bool { return slices.Contains(before, s) }); !slices.Equal(added, []string{schema}) {
		return fmt.Errorf("the export holds the schemas %q, want %q alone", added, schema)
	}
	var tables [2]map[string]contents.Table
	for i, database := range []string{c.database, c.restored} {
		conn, err := pgx.Connect(c.ctx, cluster.URL(database))
		if err != nil {
			return err
		}
		tables[i], err = contents.Read(c.ctx, conn, []string{schema})
		if err = errors.Join(err, conn.Close(c.ctx)); err != nil {
			return err
		}
	}
	if diff := contents.Compare(tables[0], tables[1]); len(diff) > 0 || len(tables[0]) != 1 {
		return fmt.Errorf("restored differ %q of %d tables", diff, len(tables[0]))
	}
	return nil
}

// schemas lists the schemas of the database to restore into.
func (c *catalogue) schemas() ([]string, error) {
	conn, err := pgx.Connect(c.ctx, cluster.URL(c.restored))
	if err != nil {
		return nil, err
	}
	rows, err := conn.Query(c.ctx, "SELECT nspname FROM pg_namespace")
	var names []string
	if err == nil {
		names, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	return names, errors.Join(err, conn.Close(c.ctx))
}

func TestTheSameIDGivesTheFirstOutcomeAgain(t *testing.T) {
	t.Parallel()
	p := setup(t)
	recorder := fakePgDump(t, `exec "$real" "$@"`)
	p.start("PG_BIN_DIR=" + recorder)
	const subject = "backup.requested.globex"
	p.publish(subject, nil, `{"project_id":"globex","request_id":"nightly","metadata":{"a":"1","b":"2"}}`)
	first, out := p.announced(1)
	if out.Completed == nil {
		t.Fatalf("failed: %+v", out.Failed)
	}
	// Another spelling of the same content: no second outcome.
	p.publish(subject, nil, ` {"compression":"gzip","metadata":{"b":"2","a":"1"},"request_id":"nightly","project_id":"globex"} `)
	p.outcomes--
	p.settled()
	if n := p.stream(events.StreamOutcomes).State.Msgs; n != 1 {
		t.Errorf("%d outcomes after the same request, want 1", n)
	}
	// Other content under the id: it is refused under an event id of its own.
	p.publish(subject, nil, `{"project_id":"globex","request_id":"nightly","format":"custom"}`)
	_, out = p.announced(2)
	if f := out.Failed; f == nil || f.Code != codes.RequestConflict || f.RequestID == "nightly" || f.ProjectID != "globex" || !f.Permanent {
		t.Errorf("other contents under the same id ended as %+v", out)
	}
	// The id in another project is another request.
	p.publish("backup.requested", nil, `{"project_id":"quoted","request_id":"nightly"}`)
	if _, out = p.announced(3); out.Completed == nil || out.Completed.ProjectID != "quoted" {
		t.Errorf("the same id in another project ended as %+v", out)
	}
	if again, _ := p.announced(1); string(again.Data) != string(first.Data) || !again.Time.Equal(first.Time) {
		t.Errorf("the first outcome is now %s, was %s", again.Data, first.Data)
	}
	if got := p.completed("globex", "nightly"); got.Format != events.FormatSQL || got.Metadata["a"] != "1" {
		t.Errorf("awaiting the first request gives %+v", got)
	}
	if n := len(executed(t, recorder)); n != 2 {
		t.Errorf("pg_dump ran %d times, want 2", n)
	}
}
