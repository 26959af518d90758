package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
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
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
	"github.com/pgcourier/pgcourier/internal/dev/pgtest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/replay"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/secret"
)

var cluster *pgcluster.Cluster

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, &cluster, nil)) }

// bench is an API on a ledger and a broker of its own.
type bench struct {
	t      testing.TB
	ledger *ledger.Ledger
	pool   *pgxpool.Pool
	nc     *nats.Conn
	js     jetstream.JetStream
	api    *api.API
	url    string
	log    *logs
	broker *brokertest.Plain
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

// setup makes a bench. change may change the API's configuration.
func setup(t testing.TB, change ...func(*api.Config)) *bench {
	t.Helper()
	b := &bench{t: t, log: &logs{}}
	name := "t" + strings.ToLower(rand.Text())
	b.execOn("postgres", "CREATE DATABASE "+name)
	var err error
	b.pool, err = controlplane.Connect(context.Background(), secret.String(cluster.URL(name)), nil)
	b.must(err)
	t.Cleanup(b.pool.Close)
	b.ledger, err = ledger.Open(t.Context(), ledger.Config{Pool: b.pool, CallTimeout: brokertest.Timeout})
	b.must(err)
	b.broker, err = brokertest.StartPlain(t.TempDir(), brokertest.RandomPort)
	b.must(err)
	t.Cleanup(b.broker.Shutdown)
	b.nc = brokertest.Connect(t, b.broker.ClientURL())
	b.js = brokertest.JetStream(t, b.nc)
	topology := broker.Topology{MaxWaitingPerProject: 10}
	b.must(broker.Provision(t.Context(), b.js, topology))
	b.must(broker.ProvisionSchedules(t.Context(), b.js, topology))
	client, err := events.NewClient(b.nc)
	b.must(err)
	queue := broker.NewRequestQueue(b.js, handlers.DecodeStored)
	c := api.Config{
		Ledger: b.ledger, Client: client, JetStream: b.js, Queue: queue, Planner: &replay.Planner{History: replay.NewStreams(b.js), Queue: queue},
		RestoreQueue: broker.NewRestoreQueue(b.js, handlers.DecodeStoredRestore),
		RestoreOutcomeBody: func(o export.Outcome) ([]byte, error) {
			m, err := handlers.EncodeRestoreOutcome(o, "test")
			return m.Body, err
		},
		OutcomeBody: func(o export.Outcome) ([]byte, error) {
			m, err := handlers.EncodeOutcome(o, "test")
			return m.Body, err
		},
		Rate: 1e5, Log: slog.New(slog.NewTextHandler(b.log, nil)),
	}
	for _, f := range change {
		f(&c)
	}
	b.api, err = api.New(c)
	b.must(err)
	srv := httptest.NewServer(b.api.Handler())
	b.url = srv.URL
	t.Cleanup(func() {
		b.api.Drain()
		srv.Close()
		b.must(b.api.Close())
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

// token makes a token.
func (b *bench) token(project string, scopes ...access.Scope) string {
	b.t.Helper()
	s, hash := access.NewSecret()
	_, err := b.ledger.AddToken(b.t.Context(), access.Token{ID: access.NewTokenID(), Project: project, Scopes: scopes}, hash, 0)
	b.must(err)
	return s.Reveal()
}

// answer is the answer to a call.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
}

func (a answer) export(t testing.TB) api.Export {
	t.Helper()
	var fields map[string]json.RawMessage
	a.into(t, &fields)
	delete(fields, "request") // they are written only
	delete(fields, "outcome")
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	var e api.Export
	answer{a.status, a.header, b}.into(t, &e)
	return e
}

func (a answer) problem(t testing.TB) api.Problem {
	t.Helper()
	var p api.Problem
	a.into(t, &p)
	if a.header.Get("Content-Type") != "application/problem+json" || p.Status != a.status || p.Type != "urn:pgcourier:problem:"+string(p.Code) || p.Detail == "" {
		t.Errorf("no problem of RFC 9457: %d %v %s", a.status, a.header, a.body)
	}
	return p
}

// call makes a call. header holds pairs of a name and a value.
func (b *bench) call(method, path, token, body string, header ...string) answer {
	b.t.Helper()
	a, err := b.try(method, path, token, body, header...)
	b.must(err)
	return a
}

func (b *bench) try(method, path, token, body string, header ...string) (answer, error) {
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, r)
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, got}, err
}

// repeat posts a body with headers, of which some may be repeated. An empty Content-Type is left
// out.
func (b *bench) repeat(path, token, body string, header []string) (answer, error) {
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, got}, err
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

// complete ends a request as completed, and announces it.
func (b *bench) complete(tok export.Token, r export.Request) export.Outcome {
	b.t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	return b.finish(tok, export.Outcome{
		ID: r.ID, State: export.Completed, Attempt: tok.Attempt, Payload: r.Payload, StartedAt: now.Add(-time.Second), FinishedAt: now,
		RequestedBy: r.RequestedBy, Metadata: r.Metadata,
		Artifact: &export.Artifact{
			Format: r.Format, Compression: seal.Gzip, Encryption: seal.Unencrypted, Schemas: []string{"tenant_acme"}, SizeBytes: 10, StoredBytes: 5,
			SHA256: strings.Repeat("ab", 32), ServerVersion: "15.1", PgDumpVersion: "15.1", Tables: 1, Rows: 2,
			Copies: []export.Copy{{Destination: "file", URI: "file:x"}},
		},
	})
}

func (b *bench) fail(tok export.Token, r export.Request, f export.Fault) export.Outcome {
	b.t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	return b.finish(tok, export.Outcome{
		ID: r.ID, State: export.Failed, Attempt: tok.Attempt, Payload: r.Payload, StartedAt: now.Add(-time.Second), FinishedAt: now,
		Code: f.Code, Message: f.Message, Permanent: f.Code.Permanent(), RequestedBy: r.RequestedBy, Metadata: r.Metadata,
	})
}

func (b *bench) finish(tok export.Token, o export.Outcome) export.Outcome {
	b.t.Helper()
	b.must(b.ledger.Finish(b.t.Context(), tok, export.Ending{Outcome: &o}))
	m, err := handlers.EncodeOutcome(o, "test")
	b.must(err)
	b.publish(m)
	return o
}

// publish publishes an event as a worker does.
func (b *bench) publish(m events.Message) {
	b.t.Helper()
	out := nats.NewMsg(m.Subject)
	for name, value := range m.Header {
		out.Header.Set(name, value)
	}
	out.Data = m.Body
	if strings.HasPrefix(m.Subject, events.TypeProgress) {
		b.must(b.nc.PublishMsg(out))
		return
	}
	_, err := b.js.PublishMsg(b.t.Context(), out)
	b.must(err)
}
