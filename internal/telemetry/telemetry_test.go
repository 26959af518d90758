package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

var update = flag.Bool("update", false, "rewrite the table of docs/observability.md")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quiet is a process that exports no traces.
func quiet(t *testing.T, c telemetry.Config) *telemetry.Telemetry {
	t.Helper()
	c.Getenv = func(string) string { return "" }
	c.Log = slog.New(slog.DiscardHandler)
	tel, err := telemetry.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return tel
}

// page is the answer to a scrape.
func page(t *testing.T, tel *telemetry.Telemetry) string {
	t.Helper()
	rec := httptest.NewRecorder()
	tel.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("a scrape gives %d: %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

func TestTheDocumentListsEveryMetric(t *testing.T) {
	t.Parallel()
	const file = "../../docs/observability.md"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), "<!-- metrics -->\n")
	_, after, ok2 := strings.Cut(rest, "<!-- /metrics -->")
	if !ok || !ok2 {
		t.Fatal("docs/observability.md lacks the part of the metrics")
	}
	want := before + "<!-- metrics -->\n" + quiet(t, telemetry.Config{PerProject: true}).Markdown() + "<!-- /metrics -->" + after
	if want == string(b) {
		return
	}
	if !*update {
		t.Fatal("docs/observability.md is not up to date: go test ./internal/telemetry -run TestTheDocument -update")
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// everyKind uses each instrument once.
func everyKind(t *testing.T, tel *telemetry.Telemetry) {
	t.Helper()
	tel.Store("file", nil)
	tel.Transport("s3", http.DefaultTransport)
	tel.Sender("email", nil)
	tel.Verifier(nil)
	tel.ShowConnection(func() bool { return true })
	full := func(context.Context) (telemetry.Backlog, error) {
		return telemetry.Backlog{Waiting: 2, Held: 1, Oldest: time.Now().Add(-time.Hour)}, nil
	}
	tel.SampleQueue("requests", full)
	tel.SampleNotifier("email", full)
	tel.SampleSuccesses(func(context.Context, bool) (map[string]time.Time, error) {
		return map[string]time.Time{"acme": time.Unix(1000, 0), "globex": time.Unix(2000, 0)}, nil
	})
	tel.SampleRetention(func(context.Context) (telemetry.Retention, error) {
		return telemetry.Retention{Waiting: 3, Failing: 1, LastRun: time.Unix(1000, 0)}, nil
	})
}

// Prometheus's own linter accepts the names and units.
func TestTheNamesFollowTheConventions(t *testing.T) {
	t.Parallel()
	tel := quiet(t, telemetry.Config{Version: "1.2.3", PerProject: true})
	everyKind(t, tel)
	problems, err := promlint.New(strings.NewReader(page(t, tel))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// A missing code would begin its series with its first failure, which increase() does not see.
func TestEveryCodeOfTheContractIsCountedFromTheStart(t *testing.T) {
	t.Parallel()
	have := page(t, quiet(t, telemetry.Config{}))
	for _, code := range codes.OfFailures() {
		series := []string{
			fmt.Sprintf("pgcourier_exports_total{code=%q,outcome=\"failed\"} 0\n", code),
			fmt.Sprintf("pgcourier_attempts_total{code=%q,result=\"failed\"} 0\n", code),
		}
		if !code.Permanent() {
			series = append(series, fmt.Sprintf("pgcourier_attempts_total{code=%q,result=\"retried\"} 0\n", code))
		}
		for _, one := range series {
			if !strings.Contains(have, one) {
				t.Errorf("no %s", one)
			}
		}
	}
	if n := strings.Count(have, "pgcourier_exports_total{code=") - 1; n != len(codes.OfFailures()) { // one is the code of success
		t.Errorf("%d codes are counted, the contract has %d", n, len(codes.OfFailures()))
	}
}

func TestDownloadsAreCountedWithTheirBytes(t *testing.T) {
	t.Parallel()
	tel := quiet(t, telemetry.Config{})
	tel.Download(true, "sent", 100)
	tel.Download(true, "cut", 7)
	tel.Download(false, "sent", 1)
	text := page(t, tel)
	for _, want := range []string{
		`pgcourier_downloads_total{by="link",result="sent"} 1`, `pgcourier_downloads_total{by="link",result="cut"} 1`, `pgcourier_downloads_total{by="link",result="redirected"} 0`,
		`pgcourier_downloads_total{by="caller",result="sent"} 1`, `pgcourier_download_bytes_total{by="link"} 107`, `pgcourier_download_bytes_total{by="caller"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}

func TestProjectsAreNamedOnlyWhenAskedFor(t *testing.T) {
	t.Parallel()
	for _, perProject := range []bool{false, true} {
		tel := quiet(t, telemetry.Config{PerProject: perProject})
		everyKind(t, tel)
		text := page(t, tel)
		if strings.Contains(text, "acme") != perProject || !strings.Contains(text, "pgcourier_last_success_timestamp_seconds 2000\n") {
			t.Errorf("per project %t:\n%s", perProject, text)
		}
	}
}

// A thousand scrapes read a source once in a while. A source that hangs delays none of them but
// one, by its timeout.
func TestAHangingSourceIsAskedRarelyAndBriefly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tel := quiet(t, telemetry.Config{})
		var asked atomic.Int64
		hangs := true
		tel.SampleQueue("requests", func(ctx context.Context) (telemetry.Backlog, error) {
			asked.Add(1)
			if hangs {
				<-ctx.Done()
				return telemetry.Backlog{}, ctx.Err()
			}
			return telemetry.Backlog{Waiting: 7}, nil
		})
		tel.SampleSuccesses(func(context.Context, bool) (map[string]time.Time, error) { return nil, errors.New("away") })
		begun := time.Now()
		for range 1000 {
			text := page(t, tel)
			if !strings.Contains(text, `pgcourier_sample_up{source="requests"} 0`) || strings.Contains(text, "queue_waiting_requests{") ||
				!strings.Contains(text, `pgcourier_sample_up{source="ledger"} 0`) {
				t.Fatalf("with sources that do not answer:\n%s", text)
			}
		}
		if n, took := asked.Load(), time.Since(begun); n != 1 || took != time.Second {
			t.Errorf("asked %d times, for %s", n, took)
		}
		hangs = false
		time.Sleep(5 * time.Second)
		if text := page(t, tel); !strings.Contains(text, `pgcourier_queue_waiting_requests{queue="requests"} 7`) {
			t.Errorf("once it answers:\n%s", text)
		}
	})
}

// Scrapes that arrive while one gathers share its result.
func TestAThousandScrapesAtOnceCostOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tel := quiet(t, telemetry.Config{})
		var gathered atomic.Int64
		release := make(chan struct{})
		tel.ShowConnection(func() bool {
			<-release
			return gathered.Add(1) > 1
		})
		h := tel.Handler()
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
				if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "pgcourier_broker_connected 0\n") {
					t.Errorf("%d: %s", rec.Code, rec.Body)
				}
			})
		}
		synctest.Wait() // all have arrived
		close(release)
		all.Wait()
		if n := gathered.Load(); n != 1 {
			t.Errorf("gathered %d times", n)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
		if !strings.Contains(rec.Body.String(), "pgcourier_broker_connected 1\n") {
			t.Errorf("the next one:\n%s", rec.Body)
		}
	})
}

func TestOpenMetricsIsGivenToWhatAsksForIt(t *testing.T) {
	t.Parallel()
	tel := quiet(t, telemetry.Config{})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	rec := httptest.NewRecorder()
	tel.Handler().ServeHTTP(rec, r)
	if ct := rec.Header().Get("Content-Type"); !strings.HasPrefix(ct, "application/openmetrics-text; version=1.0.0") || !strings.HasSuffix(rec.Body.String(), "# EOF\n") {
		t.Errorf("%s:\n%s", ct, rec.Body)
	}
}

// attemptLedger has configured answers; the verdict 0 is an outage.
type attemptLedger struct {
	verdicts []export.Verdict
	renew    error
	finish   []error
}

func (l *attemptLedger) Renew(context.Context, export.Token) error { return l.renew }

func (l *attemptLedger) Finish(context.Context, export.Token, export.Ending) error {
	err := l.finish[0]
	l.finish = l.finish[1:]
	return err
}

func (l *attemptLedger) Claim(_ context.Context, c export.ClaimRequest) (export.Claim, error) {
	v := l.verdicts[0]
	l.verdicts = l.verdicts[1:]
	if v == 0 {
		return export.Claim{}, export.ErrLedgerUnavailable
	}
	return export.Claim{Verdict: v, Token: export.Token{ID: c.Request.ID, Attempt: 2}}, nil
}

type run func(ctx context.Context) (export.Outcome, error)

func (r run) Run(ctx context.Context, _ export.Request, _ delivery.Delivery, _ export.Group) (export.Outcome, error) {
	return r(ctx)
}

func TestAttemptsAreCountedByTheirEnd(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	done := export.Outcome{State: export.Completed, StartedAt: at, FinishedAt: at.Add(time.Minute), Artifact: &export.Artifact{SizeBytes: 100, StoredBytes: 50}}
	for name, c := range map[string]struct {
		verdicts []export.Verdict
		ending   export.Ending
		finish   []error // the answer to each finish
		renew    error
		want     []string
	}{
		"completed": {verdicts: []export.Verdict{0, export.Leased, export.Granted, export.Granted}, ending: export.Ending{Outcome: &done}, finish: []error{export.ErrLedgerUnavailable, nil, nil}, want: []string{
			`pgcourier_attempts_total{code="",result="completed"} 1`, `pgcourier_export_size_bytes_sum 100`, `pgcourier_export_stored_bytes_sum 50`,
			`pgcourier_export_duration_seconds_sum{outcome="completed"} 60`, `pgcourier_ledger_failures_total{operation="claim"} 1`, `pgcourier_ledger_failures_total{operation="finish"} 1`}},
		"failed": {verdicts: []export.Verdict{export.Granted}, ending: export.Ending{Outcome: &export.Outcome{State: export.Failed, Code: codes.SizeLimit}}, finish: []error{nil}, want: []string{
			`pgcourier_attempts_total{code="size_limit",result="failed"} 1`, `pgcourier_export_size_bytes_count 0`}},
		"retried": {verdicts: []export.Verdict{export.Busy, export.Granted}, ending: export.Ending{Retry: &export.Fault{Code: codes.LockTimeout}}, finish: []error{nil}, want: []string{
			`pgcourier_attempts_total{code="lock_timeout",result="retried"} 1`}},
		"superseded at a renewal": {verdicts: []export.Verdict{export.Granted}, renew: export.ErrSuperseded, finish: []error{export.ErrSuperseded}, want: []string{
			`pgcourier_attempts_total{code="",result="superseded"} 1`, `pgcourier_lease_losses_total 1`}},
		"ended before": {verdicts: []export.Verdict{export.Ended}, want: []string{
			`pgcourier_attempts_total{code="",result="completed"} 0`, `pgcourier_export_duration_seconds_count{outcome="completed"} 0`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tel := quiet(t, telemetry.Config{})
			ledger := tel.Ledger(&attemptLedger{verdicts: c.verdicts, finish: c.finish, renew: c.renew})
			var token export.Token
			for range c.verdicts {
				claim, _ := ledger.Claim(t.Context(), export.ClaimRequest{Request: export.Request{ID: export.ID{Project: "p", Request: "r"}}})
				token = claim.Token
			}
			granted := c.verdicts[len(c.verdicts)-1] == export.Granted
			if running := strings.Contains(page(t, tel), "pgcourier_exports_running 1\n"); running != granted {
				t.Errorf("running %t, granted %t", running, granted)
			}
			if err := ledger.Renew(t.Context(), token); !errors.Is(err, c.renew) {
				t.Errorf("renew: %v", err)
			}
			for _, want := range c.finish {
				if err := ledger.Finish(t.Context(), token, c.ending); !errors.Is(err, want) {
					t.Errorf("finish: %v, want %v", err, want)
				}
			}
			text := page(t, tel)
			for _, want := range append(c.want, "pgcourier_exports_running 0") {
				if !strings.Contains(text, want+"\n") {
					t.Errorf("lacks %s", want)
				}
			}
		})
	}
}

// full is a destination without room, and broken a stream that fails.
type full struct{ export.Store }

func (full) Put(_ context.Context, _ string, r io.Reader, _ func() export.Manifest) ([]export.Copy, error) {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, &export.Fault{Code: codes.StorageUnavailable, Err: err}
	}
	return nil, &export.Fault{Code: codes.StorageFull}
}

func (full) Delete(ctx context.Context, _ string) error { return ctx.Err() }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("pg_dump died") }

func TestOnlyADestinationsOwnFaultsAreItsFailures(t *testing.T) {
	t.Parallel()
	tel := quiet(t, telemetry.Config{})
	store := tel.Store("s3", full{})
	_, _ = store.Put(t.Context(), "k", strings.NewReader("12345"), nil)
	_, _ = store.Put(t.Context(), "k", broken{}, nil)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_ = store.Delete(ended, "k")
	text := page(t, tel)
	for _, want := range []string{
		`pgcourier_storage_failures_total{code="storage_full",destination="s3",operation="put"} 1`,
		`pgcourier_storage_failures_total{code="storage_unavailable",destination="s3",operation="put"} 0`,
		`pgcourier_storage_failures_total{code="internal_error",destination="s3",operation="delete"} 0`,
		`pgcourier_storage_written_bytes_total{destination="s3"} 5`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("lacks %s:\n%s", want, text)
		}
	}
}

func TestARequestIsNamedInEachLineOnce(t *testing.T) {
	t.Parallel()
	tel := quiet(t, telemetry.Config{})
	var out bytes.Buffer
	log := slog.New(telemetry.NewLogHandler(slog.NewJSONHandler(&out, nil)))
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	ctx := trace.ContextWithSpanContext(t.Context(), span)
	ledger := tel.Ledger(&attemptLedger{verdicts: []export.Verdict{export.Granted}})
	req := export.Request{ID: export.ID{Project: "acme", Request: "r1"}}
	_, _ = tel.Runner(run(func(ctx context.Context) (export.Outcome, error) {
		_, _ = ledger.Claim(ctx, export.ClaimRequest{Request: req})
		log.InfoContext(ctx, "plain")
		log.With("request_id", "its own").InfoContext(ctx, "of a logger", "attempt", 9)
		log.WithGroup("g").InfoContext(ctx, "in a group", "k", 1)
		return export.Outcome{}, nil
	})).Run(ctx, req, delivery.Delivery{}, export.Group{})
	log.InfoContext(t.Context(), "outside")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []map[string]any{
		{"msg": "plain", "project_id": "acme", "request_id": "r1", "attempt": 2.0, "trace_id": span.TraceID().String(), "span_id": span.SpanID().String()},
		{"msg": "of a logger", "project_id": "acme", "request_id": "its own", "attempt": 9.0},
		{"msg": "in a group", "project_id": nil},
		{"msg": "outside", "project_id": nil, "trace_id": nil},
	} {
		var got map[string]any
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
			t.Fatal(err)
		}
		for k, v := range want {
			if got[k] != v || strings.Count(lines[i], `"`+k+`"`) > 1 {
				t.Errorf("%s: %s is %v, want %v", lines[i], k, got[k], v)
			}
		}
	}
}

func BenchmarkScrape(b *testing.B) {
	tel, err := telemetry.New(b.Context(), telemetry.Config{Getenv: func(string) string { return "" }})
	if err != nil {
		b.Fatal(err)
	}
	handler := tel.Handler()
	for b.Loop() {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics", nil))
	}
}

// A message that waits for its turn is given to the handler again and again, and counted once it
// ran.
func TestWaitingForATurnIsNoDelivery(t *testing.T) {
	t.Parallel()
	tel := quiet(t, telemetry.Config{})
	answers := []error{&export.TurnError{}, &export.TurnError{}, nil, errors.New("again"), delivery.ErrDrop}
	runner := tel.Runner(run(func(context.Context) (export.Outcome, error) {
		err := answers[0]
		answers = answers[1:]
		return export.Outcome{}, err
	}))
	handler := tel.Middleware(func(msg *message.Message) ([]*message.Message, error) {
		_, err := runner.Run(msg.Context(), export.Request{}, delivery.Delivery{}, export.Group{})
		if turn, waits := errors.AsType[*export.TurnError](err); waits {
			return nil, delivery.Snooze(turn.Wait)
		}
		return nil, err
	})
	for range answers {
		msg := message.NewMessage("1", nil)
		msg.SetContext(delivery.NewContext(t.Context(), delivery.Delivery{Subject: "backup.requested.acme", EventID: "e1", Number: 2}))
		_, _ = handler(msg)
	}
	text := page(t, tel)
	for name, want := range map[string]string{"deliveries": "3", "redeliveries": "3", "handler_failures": "1"} {
		if line := "pgcourier_" + name + `_total{handler=""} ` + want + "\n"; !strings.Contains(text, line) {
			t.Errorf("lacks %s in\n%s", line, text)
		}
	}
}
