package handover_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/dev/pgtest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/handover"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/libpq/controlplane"
	"github.com/pgcourier/pgcourier/internal/pgcluster"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

var cluster *pgcluster.Cluster

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, &cluster, nil)) }

// bench is a ledger, a folder with exports, and a server of links.
type bench struct {
	t       *testing.T
	pool    *pgxpool.Pool
	ledger  *ledger.Ledger
	storage string
	set     destinations.Set
	links   *handover.Links
	handler *handover.Handler
	keys    *handover.Keys
	server  *httptest.Server

	mu        sync.Mutex
	changes   []handover.Change
	transfers map[handover.Transfer]int
}

// observe takes what the metrics would.
func (b *bench) observe(t handover.Transfer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.transfers[t]++
}

// Announce takes what the broker would.
func (b *bench) Announce(_ context.Context, c handover.Change) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changes = append(b.changes, c)
	return nil
}

func setup(t *testing.T, urls ...string) *bench {
	t.Helper()
	return setupWith(t, destinations.Options{S3: credentials.NewStaticV4("key", "secret", "")}, urls...)
}

func setupWith(t *testing.T, o destinations.Options, urls ...string) *bench {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	b := &bench{t: t, storage: filepath.Join(t.TempDir(), "exports"), transfers: map[handover.Transfer]int{}}
	name := "t" + strings.ToLower(rand.Text())
	admin, err := controlplane.Connect(context.Background(), export.Secret(cluster.URL("postgres")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	admin.Close()
	if b.pool, err = controlplane.Connect(context.Background(), export.Secret(cluster.URL(name)), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.pool.Close)
	if b.ledger, err = ledger.Open(t.Context(), ledger.Config{Pool: b.pool, CallTimeout: 2 * time.Minute}); err != nil {
		t.Fatal(err)
	}
	if len(urls) == 0 {
		urls = []string{"file://" + b.storage}
	}
	if b.set, err = destinations.Open(urls, o); err != nil {
		t.Fatal(err)
	}
	if err := b.set.Check(t.Context(), b.ledger, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.set.Close() })
	keys, err := handover.OpenKeys("", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b.keys = keys
	b.server = httptest.NewServer(nil)
	t.Cleanup(b.server.Close)
	b.serve(0)
	b.links = handover.NewLinks(handover.LinksConfig{
		Records: b.ledger, Keys: keys, PublicURL: b.server.URL + "/", Read: handlers.ReadDelivery, Check: handlers.CheckLink, Announcer: b, Log: slog.New(slog.DiscardHandler),
	})
	return b
}

// serve answers by a handler that gives up a client that reads nothing for stall. 0: the default.
func (b *bench) serve(stall time.Duration) {
	b.handler = handover.NewHandler(handover.HandlerConfig{
		Records: b.ledger, Files: service.Files{Set: b.set, Direct: true, Log: slog.New(slog.DiscardHandler)}, Keys: b.keys, Stall: stall, Observe: b.observe, Log: slog.New(slog.DiscardHandler),
	})
	b.server.Config.Handler = b.handler
}

// export stores an export of these bytes and records it as completed.
func (b *bench) export(id, payload string, data []byte) export.ID {
	b.t.Helper()
	req := export.Request{
		ID: export.ID{Project: "acme", Request: id}, Format: export.SQL, Compression: seal.Gzip,
		Payload: []byte(payload), Digest: sha256.Sum256([]byte(payload)),
	}
	key := "acme/" + id + ".1.sql.gz"
	claim, err := b.ledger.Claim(b.t.Context(), export.ClaimRequest{
		Request: req, Worker: "w", Nonce: rand.Text(), Object: func(int) string { return key },
		Delivery: delivery.Delivery{EventID: "e-" + id, Number: 1, Stream: "S", Sequence: 1},
	})
	if err != nil || claim.Verdict != export.Granted {
		b.t.Fatal(claim, err)
	}
	sum := sha256.Sum256(data)
	out := export.Outcome{
		ID: req.ID, State: export.Completed, Attempt: 1, StartedAt: time.Now(), FinishedAt: time.Now(), Payload: req.Payload,
		Artifact: &export.Artifact{
			Format: export.SQL, Compression: seal.Gzip, Encryption: seal.Unencrypted, Schemas: []string{"s"}, SizeBytes: 1,
			StoredBytes: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), CRC32C: seal.CRC32C(0, data), ServerVersion: "15", PgDumpVersion: "15",
		},
	}
	for _, d := range b.set {
		copies, err := d.Put(b.t.Context(), key, bytes.NewReader(data), func() export.Manifest { return export.Manifest{Version: 1, Key: key, Outcome: out} })
		if err != nil {
			b.t.Fatal(err)
		}
		out.Artifact.Copies = append(out.Artifact.Copies, copies...)
	}
	out.Artifact.Receipt = &export.Receipt{KeyID: "k", Envelope: []byte(`{"payloadType":"test"}`)}
	if err := b.ledger.Finish(b.t.Context(), claim.Token, export.Ending{Outcome: &out}); err != nil {
		b.t.Fatal(err)
	}
	return req.ID
}

// issue issues a link.
func (b *bench) issue(id export.ID, limit int) (handover.Link, string) {
	b.t.Helper()
	link, url, err := b.links.Issue(b.t.Context(), handover.IssueRequest{ID: id, By: "ann", TTL: time.Hour, MaxDownloads: limit})
	if err != nil {
		b.t.Fatal(err)
	}
	return link, url
}

// call makes one request, with headers as pairs. It does not follow a redirect.
func (b *bench) call(method, url string, headers ...string) *http.Response {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, url, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp
}

func (b *bench) exec(sql string, args ...any) {
	b.t.Helper()
	if _, err := b.pool.Exec(b.t.Context(), sql, args...); err != nil {
		b.t.Fatal(err)
	}
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	data := make([]byte, n)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	return data
}
