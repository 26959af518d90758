package ledger_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/dev/pgtest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/seal"
)

var cluster *pgcluster.Cluster

var execMode = flag.String("exec-mode", "", "default_query_exec_mode of every pool: the whole suite holds in each")

// execModes are the query modes of pgx.
var execModes = []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"}

func TestMain(m *testing.M) {
	// The protocol's histories use real transactions; -rapid.checks and RAPID_CHECKS run more of
	// them.
	if _, asked := os.LookupEnv("RAPID_CHECKS"); !asked {
		if err := flag.Set("rapid.checks", "40"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(pgtest.Main(m, &cluster, nil))
}

// bench is a ledger on a database of its own.
type bench struct {
	*ledger.Ledger
	pool *pgxpool.Pool
	url  string
}

func setup(t testing.TB) *bench {
	t.Helper()
	url := newDatabase(t)
	pool := newPool(t, url)
	l, err := ledger.Open(t.Context(), ledger.Config{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	return &bench{l, pool, url}
}

// newDatabase makes an empty database and returns the superuser's URL for it. It is removed with
// the cluster: dropping it would need a checkpoint.
func newDatabase(t testing.TB) string {
	t.Helper()
	name := "t" + strings.ToLower(rand.Text())
	admin := cluster.URL("postgres")
	execOn(t, admin, "CREATE DATABASE "+name)
	return cluster.URL(name)
}

func execOn(t testing.TB, url, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func newPool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	if *execMode != "" && !strings.Contains(url, "default_query_exec_mode") {
		url += "&default_query_exec_mode=" + *execMode
	}
	pool, err := controlplane.Connect(context.Background(), export.Secret(url), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// exec changes the tables directly, for instance to let time pass.
func (b *bench) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := b.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// scan reads one row.
func (b *bench) scan(t testing.TB, sql string, into ...any) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), sql).Scan(into...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// expire ends all leases and all waits.
func (b *bench) expire(t testing.TB) {
	t.Helper()
	b.exec(t, `UPDATE pgcourier.requests SET touched_at = touched_at - interval '1 hour',
		lease_until = lease_until - interval '1 hour'`)
}

// granted claims, and fails the test unless it gets the attempt.
func (b *bench) granted(t testing.TB, c export.ClaimRequest) export.Token {
	t.Helper()
	got, err := b.Claim(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if got.Verdict != export.Granted {
		t.Fatalf("verdict %v, want granted", got.Verdict)
	}
	return got.Token
}

func request(id, payload string) export.Request {
	return export.Request{
		ID:     export.ID{Project: "acme", Request: id},
		Format: export.SQL, Compression: seal.Gzip, RequestedBy: "ann", Metadata: map[string]string{"ticket": "7"},
		Payload: []byte(payload), Digest: sha256.Sum256([]byte(payload)),
	}
}

func claimOf(r export.Request, number int) export.ClaimRequest {
	return export.ClaimRequest{
		Request: r, Worker: "w1", Nonce: rand.Text(),
		Delivery: delivery.Delivery{EventID: "q-1", Number: number, Last: number == 3, Stream: "BACKUP_REQUESTS@1", Sequence: 1},
		Object:   func(n int) string { return fmt.Sprintf("%s.%d.sql.gz", r.ID, n) },
	}
}

func outcome(t export.Token, r export.Request) *export.Outcome {
	return &export.Outcome{
		ID: r.ID, State: export.Completed, Attempt: t.Attempt, Payload: r.Payload,
		StartedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), FinishedAt: time.Date(2026, 1, 2, 3, 5, 6, 0, time.UTC),
		RequestedBy: r.RequestedBy, Metadata: r.Metadata,
		Artifact: &export.Artifact{Format: r.Format, SizeBytes: 10, Copies: []export.Copy{{URI: "file:x"}}},
	}
}

func failure(r export.Request, attempt int, code codes.Code) *export.Outcome {
	return &export.Outcome{
		ID: r.ID, State: export.Failed, Attempt: attempt, Payload: r.Payload, RequestedBy: r.RequestedBy, Metadata: r.Metadata,
		Code: code, Permanent: code.Permanent(), Message: "because",
	}
}
