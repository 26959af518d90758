package console_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/api/console"
	"github.com/pgcourier/pgcourier/internal/api/issuer"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
	"github.com/pgcourier/pgcourier/internal/dev/pgtest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/handover"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/replay"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/secret"
)

var cluster *pgcluster.Cluster

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, &cluster, nil)) }

// bench is a console on a ledger and a broker of its own.
type bench struct {
	t      testing.TB
	ledger *ledger.Ledger
	pool   *pgxpool.Pool
	js     jetstream.JetStream
	nc     *nats.Conn
	broker *brokertest.Plain
	url    string
	// The console reaches its ledger and its broker through these.
	toLedger, toBroker *brokertest.Proxy
	log                *logs
}

type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// settings are what a test changes of a console.
type settings struct {
	console.Config
	Notices api.Notices
	URL     string // of the server, which does not answer yet
	// RestoreOutcome replaces the body of each restore's outcome. Default: the event.
	RestoreOutcome string
}

// setup makes a bench. change may change the console's configuration.
func setup(t *testing.T, change ...func(*settings)) *bench {
	t.Helper()
	return setupWith(t, nil, change...)
}

// setupWith makes a bench with an issuer of JWTs; nil: none.
func setupWith(t *testing.T, jwt *issuer.Issuer, change ...func(*settings)) *bench {
	t.Helper()
	b := &bench{t: t, log: &logs{}}
	name := "t" + strings.ToLower(rand.Text())
	b.execOn("postgres", "CREATE DATABASE "+name)
	at, err := url.Parse(cluster.URL(name))
	b.must(err)
	b.toLedger = brokertest.NewProxy(t, at.Host)
	at.Host = strings.TrimPrefix(b.toLedger.URL(), "nats://")
	b.pool, err = controlplane.Connect(context.Background(), secret.String(at.String()), nil)
	b.must(err)
	t.Cleanup(b.pool.Close)
	b.ledger, err = ledger.Open(t.Context(), ledger.Config{Pool: b.pool, CallTimeout: brokertest.Timeout})
	b.must(err)
	b.broker, err = brokertest.StartPlain(t.TempDir(), brokertest.RandomPort)
	b.must(err)
	t.Cleanup(b.broker.Shutdown)
	b.toBroker = brokertest.NewProxy(t, b.broker.ClientURL())
	b.nc = brokertest.Connect(t, b.toBroker.URL())
	b.js = brokertest.JetStream(t, b.nc)
	topology := broker.Topology{MaxWaitingPerProject: 10}
	b.must(broker.Provision(t.Context(), b.js, topology))
	b.must(broker.ProvisionSchedules(t.Context(), b.js, topology))
	client, err := events.NewClient(b.nc)
	b.must(err)
	queue := broker.NewRequestQueue(b.js, handlers.DecodeStored)
	keys, err := handover.ParseKeys(strings.Repeat("k", 40))
	b.must(err)
	log := slog.New(slog.NewTextHandler(b.log, nil))
	links := handover.NewLinks(handover.LinksConfig{Records: b.ledger, Keys: keys, PublicURL: "https://backups.example.org", Check: handlers.CheckLink, Log: log})
	srv := httptest.NewUnstartedServer(nil)
	b.url = "http://" + srv.Listener.Addr().String()
	c := settings{URL: b.url, Config: console.Config{Keys: [][]byte{bytes.Repeat([]byte("s"), 32)}, Version: "test", Notice: time.Hour, Log: log}}
	for _, f := range change {
		f(&c)
	}
	c.API, err = api.New(api.Config{
		Ledger: b.ledger, Client: client, JetStream: b.js, Queue: queue, Planner: &replay.Planner{History: replay.NewStreams(b.js), Queue: queue},
		RestoreQueue: broker.NewRestoreQueue(b.js, handlers.DecodeStoredRestore),
		RestoreOutcomeBody: func(o export.Outcome) ([]byte, error) {
			if c.RestoreOutcome != "" {
				return []byte(c.RestoreOutcome), nil
			}
			m, err := handlers.EncodeRestoreOutcome(o, "test")
			return m.Body, err
		},
		OutcomeBody: func(o export.Outcome) ([]byte, error) {
			m, err := handlers.EncodeOutcome(o, "test")
			return m.Body, err
		},
		Handover: &api.Handover{Links: links, Receipt: func(context.Context, export.ID, bool) ([]byte, error) { return []byte("{}"), nil }},
		Notices:  c.Notices, Issuer: jwt, Rate: 1e5, Log: log,
	})
	b.must(err)
	a := c.API
	pages, err := console.New(c.Config)
	b.must(err)
	a.Mount(console.Prefix, pages)
	srv.Config.Handler = a.Handler()
	srv.Start()
	t.Cleanup(func() {
		a.Drain()
		srv.Close()
		b.must(a.Close())
	})
	return b
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) execOn(database, sql string) {
	b.t.Helper()
	conn, err := pgx.Connect(context.Background(), cluster.URL(database))
	b.must(err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(context.Background(), sql)
	b.must(err)
}

func (b *bench) exec(sql string, args ...any) {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), sql, args...)
	b.must(err)
}

// count reads one number.
func (b *bench) count(sql string) (n int) {
	b.t.Helper()
	b.must(b.pool.QueryRow(b.t.Context(), sql).Scan(&n))
	return n
}

// token makes a token.
func (b *bench) token(project string, scopes ...access.Scope) string {
	b.t.Helper()
	s, hash := access.NewSecret()
	_, err := b.ledger.AddToken(b.t.Context(), access.Token{ID: access.NewTokenID(), Project: project, Scopes: scopes}, hash, 0)
	b.must(err)
	return s.Reveal()
}

// browser is a client that keeps one session.
type browser struct {
	b      *bench
	cookie *http.Cookie
	login  *http.Cookie // of a login at the issuer
}

// answer is the answer to a request of a browser.
type answer struct {
	status int
	header http.Header
	body   string
	size   int // in bytes, as it was transferred
}

// numbers are the elements around numbers, which tests do not look at.
var numbers = regexp.MustCompile(`</?data[^>]*>`)

// visit returns a browser with a session of a new token.
func (b *bench) visit(project string, scopes ...access.Scope) *browser {
	b.t.Helper()
	v := &browser{b: b}
	got := v.post("login", url.Values{"token": {b.token(project, scopes...)}})
	if got.status != http.StatusSeeOther || v.cookie == nil {
		b.t.Fatalf("login: %d %s", got.status, got.body)
	}
	return v
}

func (v *browser) get(path string) answer {
	v.b.t.Helper()
	return v.do(http.MethodGet, path, nil)
}

func (v *browser) post(path string, form url.Values, header ...string) answer {
	v.b.t.Helper()
	return v.do(http.MethodPost, path, form, header...)
}

// do makes a request of a page, by its path below the console. It follows no redirect.
func (v *browser) do(method, path string, form url.Values, header ...string) answer {
	v.b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	if !strings.HasPrefix(path, "/") {
		path = console.Prefix + path
	}
	r, err := http.NewRequestWithContext(v.b.t.Context(), method, v.b.url+path, body)
	v.b.must(err)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if method == http.MethodPost {
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	for _, c := range []*http.Cookie{v.cookie, v.login} {
		if c != nil {
			r.AddCookie(c)
		}
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	v.b.must(err)
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	v.b.must(err)
	for _, c := range res.Cookies() {
		kept := &v.cookie
		if c.Name == "__Host-pgcourier-login" {
			kept = &v.login
		}
		if *kept = c; c.MaxAge < 0 {
			*kept = nil
		}
	}
	return answer{res.StatusCode, res.Header, numbers.ReplaceAllString(string(got), ""), len(got)}
}

// claim is a worker's first step with a request.
func (b *bench) claim(project, id string) (export.Token, export.Request) {
	b.t.Helper()
	return b.claimOf(events.Requested{ProjectID: project, RequestID: id})
}

func (b *bench) claimOf(r events.Requested) (export.Token, export.Request) {
	b.t.Helper()
	payload, err := r.Canonical()
	b.must(err)
	req := export.Request{
		ID: export.ID{Project: r.ProjectID, Request: r.RequestID}, Format: export.SQL, Compression: seal.Gzip,
		Payload: payload, Digest: sha256.Sum256(payload), RequestedBy: r.RequestedBy, Metadata: r.Metadata,
	}
	got, err := b.ledger.Claim(b.t.Context(), export.ClaimRequest{
		Request: req, Worker: "w", Nonce: rand.Text(), Delivery: delivery.Delivery{Number: 1, Stream: "q", Sequence: 1},
		Object: func(n int) string { return fmt.Sprintf("%s.%d.sql.gz", req.ID, n) },
	})
	b.must(err)
	if got.Verdict != export.Granted {
		b.t.Fatalf("%s: %v", req.ID, got.Verdict)
	}
	return got.Token, req
}

// completed makes a completed export.
func (b *bench) completed(project, id string, change ...func(*export.Artifact)) {
	b.t.Helper()
	tok, r := b.claim(project, id)
	now := time.Now().UTC().Truncate(time.Microsecond)
	a := &export.Artifact{
		Format: r.Format, Compression: seal.Gzip, Encryption: seal.Unencrypted, Schemas: []string{"tenant_acme"}, SizeBytes: 10_000, StoredBytes: 5000,
		SHA256: strings.Repeat("ab", 32), ServerVersion: "15.1", PgDumpVersion: "15.1", Tables: 1, Rows: 2,
		Copies: []export.Copy{{Destination: "file", URI: "file:x"}},
	}
	for _, f := range change {
		f(a)
	}
	b.finish(tok, export.Outcome{
		ID: r.ID, State: export.Completed, Attempt: tok.Attempt, Payload: r.Payload, StartedAt: now.Add(-time.Second), FinishedAt: now,
		RequestedBy: r.RequestedBy, Metadata: r.Metadata, Artifact: a,
	})
}

// failed makes a failed export.
func (b *bench) failed(r events.Requested, f export.Fault) {
	b.t.Helper()
	tok, of := b.claimOf(r)
	now := time.Now().UTC().Truncate(time.Microsecond)
	b.finish(tok, export.Outcome{
		ID: of.ID, State: export.Failed, Attempt: tok.Attempt, Payload: of.Payload, StartedAt: now.Add(-time.Second), FinishedAt: now,
		Code: f.Code, Message: f.Message, Permanent: f.Code.Permanent(), RequestedBy: of.RequestedBy, Metadata: of.Metadata,
	})
}

func (b *bench) finish(tok export.Token, o export.Outcome) {
	b.t.Helper()
	b.must(b.ledger.Finish(b.t.Context(), tok, export.Ending{Outcome: &o}))
	m, err := handlers.EncodeOutcome(o, "test")
	b.must(err)
	b.publish(m)
}

// publish publishes an event as a worker does.
func (b *bench) publish(m events.Message) {
	b.t.Helper()
	out := nats.NewMsg(m.Subject)
	for name, value := range m.Header {
		out.Header.Set(name, value)
	}
	out.Data = m.Body
	if strings.HasPrefix(m.Subject, events.TypeProgress) || strings.HasPrefix(m.Subject, events.TypeRestoreProgress) {
		b.must(b.nc.PublishMsg(out))
		return
	}
	_, err := b.js.PublishMsg(b.t.Context(), out)
	b.must(err)
}
