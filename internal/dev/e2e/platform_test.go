package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	brokersetup "github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// platform is the environment of workers: a database with a control plane and tenants, a broker and
// a folder for exports. Its end checks the invariants of every test.
type platform struct {
	t        *testing.T
	ctx      context.Context // the test's, but valid in its clean-up too
	database string
	storage  string
	data     string
	broker   brokerServer
	keys     string // of the broker's users
	nc       *nats.Conn
	js       jetstream.JetStream
	client   *events.Client
	workers  []*worker
	outcomes int  // expected in the end
	copied   bool // commands worked on copies of the storage: what they removed still exists here

	user *syscall.Credential // of the next processes; nil: this one's
}

var databases atomic.Int64

// brokerServer is a running broker.
type brokerServer interface {
	ClientURL() string
	Shutdown() error
}

// setup makes a platform with the embedded broker.
func setup(t *testing.T) *platform {
	t.Helper()
	return setupWith(t, func(p *platform) {
		log := slog.New(slog.DiscardHandler)
		srv, err := server.Start(server.Config{DataDir: p.data, Port: server.RandomPort, Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		p.broker, p.keys = srv, server.KeysDir(p.data)
		if p.nc, err = srv.ConnectAdmin(log); err != nil { // processes of the platform may have fewer rights
			t.Fatal(err)
		}
	})
}

// setupWith makes a platform with the broker that start runs: p.broker, p.keys and, as its
// administrator, p.nc.
func setupWith(t *testing.T, start func(p *platform)) *platform {
	t.Helper()
	p := &platform{
		t: t, ctx: context.WithoutCancel(t.Context()), database: fmt.Sprintf("platform_%d_%d", os.Getpid(), databases.Add(1)), // dumps() reads all processes of the machine
		storage: filepath.Join(t.TempDir(), "exports"), data: filepath.Join(t.TempDir(), "data"),
	}
	if err := executeIn(t.Context(), "postgres", "CREATE DATABASE "+p.database+" TEMPLATE "+template); err != nil {
		t.Fatal(err)
	}
	var err error
	start(p)
	if p.js, err = jetstream.New(p.nc); err != nil {
		t.Fatal(err)
	}
	if p.client, err = events.NewClient(p.nc); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	p.provision()
	return p
}

// environ is the configuration of a process on the platform; later settings win. Standard OTEL_ and
// AWS_ variables are passed unchanged.
func (p *platform) environ(settings ...string) []string {
	all := append([]string{
		"DATABASE_URL=" + cluster.URL(p.database), "NATS_URL=" + p.broker.ClientURL(), "DATA_DIR=" + p.data, "NATS_KEYS=" + p.keys,
		"STORAGE=file://" + p.storage, "LOG_FORMAT=json", "ACK_WAIT=10s", "RETRY_BACKOFF=100ms",
	}, settings...)
	for i := range all {
		if !strings.HasPrefix(all[i], "OTEL_") && !strings.HasPrefix(all[i], "AWS_") {
			all[i] = "PGCOURIER_" + all[i]
		}
	}
	return all
}

// provision makes what a process with this configuration needs at the broker and may not make by
// itself.
func (p *platform) provision(settings ...string) {
	p.t.Helper()
	c, err := config.Load(p.environ(settings...), nil)
	if err == nil {
		err = errors.Join(broker.Provision(p.ctx, p.js, brokersetup.Topology(c)), broker.ProvisionSchedules(p.ctx, p.js, brokersetup.Topology(c)))
	}
	if err != nil {
		p.t.Fatalf("set up the broker: %v", err)
	}
}

// request requests an export as a gateway does.
func (p *platform) request(r events.Requested) string {
	p.t.Helper()
	id, err := p.client.RequestBackup(p.t.Context(), r)
	if err != nil {
		p.t.Fatalf("request %+v: %v", r, err)
	}
	p.outcomes++
	return id
}

// await waits for a request's outcome.
func (p *platform) await(project, id string) events.Outcome {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), timeout)
	defer cancel()
	out, err := p.client.Await(ctx, project, id)
	if err != nil {
		p.t.Fatalf("await %s/%s: %v", project, id, err)
	}
	return out
}

// completed waits for a request's outcome, which must be completed.
func (p *platform) completed(project, id string) *events.Completed {
	p.t.Helper()
	out := p.await(project, id)
	if out.Completed == nil {
		p.t.Fatalf("%s/%s failed: %+v", project, id, *out.Failed)
	}
	return out.Completed
}

// failed waits for a request's outcome, which must be failed with this code after so many attempts.
func (p *platform) failed(project, id string, code codes.Code, attempts int) *events.Failed {
	p.t.Helper()
	out := p.await(project, id)
	if out.Failed == nil {
		p.t.Fatalf("%s/%s completed, want failed with %s", project, id, code)
	}
	if out.Failed.Code != code || out.Failed.Attempts != attempts {
		p.t.Errorf("%s/%s failed with %s after %d attempts (%s), want %s after %d",
			project, id, out.Failed.Code, out.Failed.Attempts, out.Failed.Message, code, attempts)
	}
	return out.Failed
}

// publish stores a message as any publisher might write it, and expects one outcome.
func (p *platform) publish(subject string, header nats.Header, body string) {
	p.t.Helper()
	m := &nats.Msg{Subject: subject, Header: header, Data: []byte(body)}
	if _, err := p.js.PublishMsg(p.t.Context(), m); err != nil {
		p.t.Fatalf("publish on %s: %v", subject, err)
	}
	p.outcomes++
}

func (p *platform) stream(name string) *jetstream.StreamInfo {
	p.t.Helper()
	s, err := p.js.Stream(p.ctx, name)
	if err != nil {
		p.t.Fatalf("look at %s: %v", name, err)
	}
	return s.CachedInfo()
}

func (p *platform) consumer(stream, name string) *jetstream.ConsumerInfo {
	p.t.Helper()
	c, err := p.js.Consumer(p.ctx, stream, name)
	if err != nil {
		p.t.Fatalf("look at %s/%s: %v", stream, name, err)
	}
	return c.CachedInfo()
}

// announced returns the outcome message with this sequence in the stream, once it exists.
func (p *platform) announced(sequence uint64) (*jetstream.RawStreamMsg, events.Outcome) {
	p.t.Helper()
	s, err := p.js.Stream(p.ctx, events.StreamOutcomes)
	if err != nil {
		p.t.Fatal(err)
	}
	var m *jetstream.RawStreamMsg
	eventually(p.t, fmt.Sprintf("outcome %d", sequence), func() bool {
		m, err = s.GetMsg(p.ctx, sequence)
		return err == nil
	})
	header := map[string]string{}
	for k := range m.Header {
		header[k] = m.Header.Get(k)
	}
	out, err := events.DecodeOutcome(events.Message{Subject: m.Subject, Header: header, Body: m.Data})
	if err != nil {
		p.t.Fatalf("outcome %d breaks the contract: %v\n%s", sequence, err, m.Data)
	}
	return m, out
}

// settled waits until nothing is queued and nothing is in staging.
func (p *platform) settled() {
	p.t.Helper()
	for _, name := range []string{events.StreamIntake, events.StreamRequests} {
		eventually(p.t, name+" is empty", func() bool { return p.stream(name).State.Msgs == 0 })
	}
	eventually(p.t, "staging is empty", func() bool { return len(p.staged()) == 0 })
}

// staged lists the files in the storage's staging folder.
func (p *platform) staged() []string {
	names, err := filepath.Glob(filepath.Join(p.storage, ".staging", "*"))
	if err != nil {
		p.t.Fatal(err)
	}
	return names
}

// stored lists the visible files of the storage, and checks every mode.
func (p *platform) stored() []string {
	p.t.Helper()
	var out []string
	err := filepath.WalkDir(p.storage, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = fs.ModeDir | 0o700
		}
		if info.Mode() != want {
			p.t.Errorf("%s has mode %s, want %s", path, info.Mode(), want)
		}
		rel, err := filepath.Rel(p.storage, path)
		if !d.IsDir() && rel != storage.MarkerName {
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// sql connects to the platform's database until the end of the test.
func (p *platform) sql() *pgx.Conn {
	p.t.Helper()
	conn, err := pgx.Connect(p.t.Context(), cluster.URL(p.database))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close(p.ctx) })
	return conn
}

func (p *platform) exec(sql string) {
	p.t.Helper()
	if err := executeIn(p.ctx, p.database, sql); err != nil {
		p.t.Fatalf("%s: %v", sql, err)
	}
}

// end settles, ends the workers and checks the invariants of every test.
func (p *platform) end() {
	running := slices.DeleteFunc(slices.Clone(p.workers), (*worker).ended)
	if len(running) > 0 && !p.t.Failed() {
		p.settled()
	}
	for _, w := range running {
		w.term()
		w.await()
	}
	if len(p.workers) > 0 {
		p.check()
	}
	p.nc.Close()
	if err := p.broker.Shutdown(); err != nil {
		p.t.Error(err)
	}
	if p.t.Failed() {
		for i, w := range p.workers {
			p.t.Logf("worker %d:\n%s", i+1, w.logs.String())
		}
	}
	if err := executeIn(p.ctx, "postgres", "DROP DATABASE "+p.database+" WITH (FORCE)"); err != nil {
		p.t.Error(err)
	}
}

func (p *platform) check() {
	for i, w := range p.workers {
		if w.err != nil && !w.killed {
			p.t.Errorf("worker %d ended with %v", i+1, w.err)
		}
		if left, err := os.ReadDir(w.tmp); err != nil || len(left) > 0 {
			p.t.Errorf("worker %d left %v in its temporary folder (%v)", i+1, left, err)
		}
	}
	if d := p.dumps(); len(d) > 0 {
		p.t.Errorf("pg_dump still runs: %v", d)
	}
	if s := p.staged(); len(s) > 0 {
		p.t.Errorf("left in staging: %q", s)
	}
	p.checkOutcomes()
}

// checkOutcomes compares the broker's outcomes with the ledger and the storage: each request has
// exactly one outcome, and exactly the completed exports that were not removed are stored.
func (p *platform) checkOutcomes() {
	seen, visible := map[string]string{}, []string{}
	entries, removed := p.ledger(), map[string]bool{}
	for _, e := range entries {
		removed[e.ID.String()] = e.RemovedAt != nil
	}
	info := p.stream(events.StreamOutcomes)
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
		m, out := p.announced(seq)
		p.checkSecrets(fmt.Sprintf("outcome %d", seq), string(m.Data)+fmt.Sprint(m.Header))
		project, id := out.IDs()
		name, state := project+"/"+id, "failed"
		if c := out.Completed; c != nil {
			state = "completed"
			if key := strings.TrimPrefix(c.Storage[0].URI, "file:"); p.copied || !removed[name] {
				visible = append(visible, key, key+".manifest.json")
				if c.Receipt != nil {
					visible = append(visible, key+".receipt.json")
				}
			}
		}
		if seen[name] != "" {
			p.t.Errorf("%s has two outcomes: %s and %s", name, seen[name], state)
		}
		seen[name] = state
	}
	if len(seen) != p.outcomes {
		p.t.Errorf("%d outcomes, want %d: %v", len(seen), p.outcomes, seen)
	}
	slices.Sort(visible)
	ofVerifier := func(name string) bool { return strings.HasSuffix(name, ".receipt-verified.json") }
	if got := slices.DeleteFunc(p.stored(), ofVerifier); !slices.Equal(got, visible) {
		p.t.Errorf("stored are %q, completed are %q", got, visible)
	}
	for _, e := range entries {
		name := e.Project + "/" + e.ID.Request
		if string(e.State) != seen[name] || e.PublishedAt == nil {
			p.t.Errorf("the ledger has %s as %s, published at %v; announced is %q", name, e.State, e.PublishedAt, seen[name])
		}
		delete(seen, name)
	}
	if len(seen) > 0 {
		p.t.Errorf("not in the ledger: %v", seen)
	}
	for i, w := range p.workers {
		p.checkSecrets(fmt.Sprintf("log of worker %d", i+1), w.logs.String())
	}
}

// ledger lists all requests of the ledger.
func (p *platform) ledger() []ledger.Entry {
	p.t.Helper()
	var entries []ledger.Entry
	p.withLedger(func(l *ledger.Ledger) (err error) {
		entries, err = l.List(p.ctx, ledger.Filter{Limit: 1000})
		return err
	})
	return entries
}

// attempts are those of one request, oldest first.
func (p *platform) attempts(project, id string) []ledger.Attempt {
	p.t.Helper()
	var entries []ledger.Entry
	p.withLedger(func(l *ledger.Ledger) (err error) {
		entries, err = l.Get(p.ctx, id, project)
		return err
	})
	if len(entries) != 1 {
		p.t.Fatalf("the ledger has %d requests %s/%s", len(entries), project, id)
	}
	return entries[0].Attempts
}

func (p *platform) withLedger(use func(*ledger.Ledger) error) {
	p.t.Helper()
	pool, err := controlplane.Connect(p.ctx, secret.String(cluster.URL(p.database)), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	defer pool.Close()
	l, err := ledger.Open(p.ctx, ledger.Config{Pool: pool})
	if err == nil {
		err = use(l)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// checkSecrets fails if text holds the database's password, or a path of the server.
func (p *platform) checkSecrets(what, text string) {
	p.t.Helper()
	u, err := url.Parse(cluster.URL(p.database))
	if err != nil {
		p.t.Fatal(err)
	}
	password, _ := u.User.Password()
	if strings.Contains(text, password) {
		p.t.Errorf("%s holds the password", what)
	}
	if strings.HasPrefix(what, "outcome") && strings.Contains(text, filepath.Dir(p.storage)) {
		p.t.Errorf("%s holds a path of the server: %s", what, text)
	}
}
