package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

const acme = "/v1/projects/acme/exports"

// queued is how many requests the queue holds.
func (b *bench) queued() int {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), events.StreamRequests)
	b.must(err)
	return int(s.CachedInfo().State.Msgs)
}

func TestAnExportIsAskedForAndFollowedToItsEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tok := b.token("acme", access.Export, access.Read)
	got := b.call("POST", acme, tok, `{"format":"custom","metadata":{"ticket":"7"}}`, "Idempotency-Key", "nightly")
	e := got.export(t)
	if got.status != http.StatusAccepted || got.header.Get("Location") != acme+"/nightly" || e.State != "waiting" || e.RequestID != "nightly" || e.Metadata["ticket"] != "7" || !strings.HasPrefix(e.RequestedBy, "token:") {
		t.Fatalf("%d %v %s", got.status, got.header, got.body)
	}
	// The message at the broker is the same as a gateway's.
	m, err := b.stored(events.StreamRequests)
	b.must(err)
	r, err := events.Decode(events.Message{Subject: m.Subject, Body: m.Data})
	if err != nil || r.Format != events.FormatCustom || r.RequestID != "nightly" || r.RequestedBy != e.RequestedBy {
		t.Errorf("the queue holds %s, %v", m.Data, err)
	}
	if e := b.call("GET", acme+"/nightly", tok, "").export(t); e.State != "waiting" {
		t.Errorf("before a worker sees it: %+v", e)
	}
	attempt, req := b.claimOf(r)
	if e := b.call("GET", acme+"/nightly", tok, "").export(t); e.State != "running" || e.Attempt != 1 || e.Percent != nil {
		t.Errorf("running: %+v", e)
	}
	out := b.complete(attempt, req)
	got = b.call("GET", acme+"/nightly", tok, "")
	if e := got.export(t); e.State != "completed" || *e.Percent != 100 || e.FinishedAt == nil {
		t.Errorf("completed: %s", got.body)
	}
	announced, err := b.stored(events.StreamOutcomes)
	b.must(err)
	var seen struct{ Outcome json.RawMessage }
	got.into(t, &seen)
	if !bytes.Equal(seen.Outcome, announced.Data) {
		t.Errorf("the outcome is shown as %s, announced was %s", seen.Outcome, announced.Data)
	}
	_ = out
}

// stored is the last message of a stream.
func (b *bench) stored(stream string) (*jetstream.RawStreamMsg, error) {
	s, err := b.js.Stream(b.t.Context(), stream)
	if err != nil {
		return nil, err
	}
	return s.GetMsg(b.t.Context(), s.CachedInfo().State.LastSeq)
}

func TestTheSameKeyAndContentsAreOneExport(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tok := b.token("acme", access.Export)
	for _, body := range []string{`{"format":"tar"}`, ` { "format" : "tar", "project_id":"acme", "compression":"gzip" } `, `{"format":"tar","request_id":"one"}`} {
		got := b.call("POST", acme, tok, body, "Idempotency-Key", "one")
		if got.status != http.StatusAccepted || got.header.Get("Location") != acme+"/one" {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	if n := b.queued(); n != 1 {
		t.Errorf("the queue holds %d requests, want 1", n)
	}
	for _, body := range []string{`{"format":"sql"}`, ``, `{"format":"tar","metadata":{"a":"b"}}`} {
		got := b.call("POST", acme, tok, body, "Idempotency-Key", "one")
		if p := got.problem(t); got.status != http.StatusConflict || p.Code != codes.RequestConflict {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	// The result is the same after a worker claimed it and after it ended: it is not published
	// again.
	m, err := b.stored(events.StreamRequests)
	b.must(err)
	r, err := events.Decode(events.Message{Subject: m.Subject, Body: m.Data})
	b.must(err)
	attempt, req := b.claimOf(r)
	for _, state := range []string{"running", "completed"} {
		got := b.call("POST", acme, tok, `{"format":"tar"}`, "Idempotency-Key", "one")
		if e := got.export(t); got.status != http.StatusAccepted || e.State != state {
			t.Errorf("%d %s, want %s", got.status, got.body, state)
		}
		if got := b.call("POST", acme, tok, `{}`, "Idempotency-Key", "one"); got.status != http.StatusConflict {
			t.Errorf("other contents while it is %s: %d", state, got.status)
		}
		if state == "running" {
			b.complete(attempt, req)
		}
	}
	if n := b.queued(); n != 1 {
		t.Errorf("the queue holds %d requests in the end, want 1", n)
	}
	// Of many concurrent calls at several servers, one creates the request.
	other := setup(t, func(c *api.Config) { c.Ledger, c.JetStream = b.ledger, b.js })
	done := make(chan answer)
	for i := range 20 {
		at := b
		if i%2 == 0 {
			at = other
		}
		go func() {
			got, err := at.try("POST", acme, tok, `{}`, "Idempotency-Key", "race")
			if err != nil {
				t.Error(err)
			}
			done <- got
		}()
	}
	for range 20 {
		if got := <-done; got.status != http.StatusAccepted {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
}

// A key that comes twice, or that is empty, is no key: the call is refused, over HTTP and over NATS.
func TestAKeyIsGivenOnceAndIsNotEmpty(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.serveCalls()
	tok := b.token("acme", access.Export)
	for name, keys := range map[string][]string{"the same twice": {"one", "one"}, "two": {"one", "two"}, "an empty second": {"one", ""}, "an empty first": {"", "one"}, "empty": {""}} {
		header := []string{"Content-Type", "application/json"}
		m := nats.NewMsg(events.CallSubject("acme", events.CallRequest))
		m.Data = []byte("{}")
		for _, key := range keys {
			header = append(header, "Idempotency-Key", key)
			m.Header.Add("Idempotency-Key", key)
		}
		overHTTP, err := b.repeat(acme, tok, "{}", header)
		b.must(err)
		overNATS, err := b.ask(m)
		b.must(err)
		for way, got := range map[string]answer{"HTTP": overHTTP, "NATS": overNATS} {
			var p api.Problem
			if got.into(t, &p); got.status != http.StatusUnprocessableEntity || p.Field != "Idempotency-Key" || p.Code != codes.InvalidRequest {
				t.Errorf("%s over %s: %d %s", name, way, got.status, got.body)
			}
		}
	}
	if n := b.queued(); n != 0 {
		t.Errorf("%d requests are queued", n)
	}
}

func TestAFullQueueIsReportedAndTheKeyIsFreeAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tok := b.token("acme", access.Export, access.Read)
	for i := range 10 {
		if got := b.call("POST", acme, tok, `{}`, "Idempotency-Key", fmt.Sprint("r", i)); got.status != http.StatusAccepted {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	got := b.call("POST", acme, tok, `{}`, "Idempotency-Key", "more")
	if p := got.problem(t); got.status != http.StatusTooManyRequests || p.Code != "queue_full" || got.header.Get("Retry-After") == "" || p.RequestID != "more" {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	if got := b.call("GET", acme+"/more", tok, ""); got.status != http.StatusNotFound {
		t.Errorf("a refused request is shown: %d %s", got.status, got.body)
	}
	s, err := b.js.Stream(t.Context(), events.StreamRequests)
	b.must(err)
	b.must(s.Purge(t.Context()))
	if got := b.call("POST", acme, tok, `{"format":"tar"}`, "Idempotency-Key", "more"); got.status != http.StatusAccepted {
		t.Errorf("the key of a refused request: %d %s", got.status, got.body)
	}
}

func TestABodyIsReadAsStrictlyAsAMessage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tok := b.token("acme", access.Export)
	for _, c := range []struct {
		body, key, field string
		status           int
		header           []string
	}{
		{body: `{"project_id":"globex"}`, field: "project_id", status: 422},
		{body: `{"format":"exe"}`, field: "format", status: 422},
		{body: `{"format":"sql","format":"tar"}`, field: "body", status: 422},
		{body: `{"unknown":1}`, field: "unknown", status: 422},
		{body: `[]`, field: "body", status: 422},
		{body: `{`, field: "body", status: 422},
		{body: `null`, field: "body", status: 422},
		{body: `{"request_id":"a"}`, key: "b", field: "Idempotency-Key", status: 422},
		{body: `{}`, key: "a/b", field: "Idempotency-Key", status: 422},
		{body: `{}`, key: strings.Repeat("a", 101), field: "Idempotency-Key", status: 422},
		{body: `{"metadata":{"a":"` + strings.Repeat("x", 70_000) + `"}}`, status: 413},
		{body: `{}`, field: "content-type", status: 422, header: []string{"Content-Type", "text/plain"}},
		{body: `{}`, field: "content-encoding", status: 422, header: []string{"Content-Encoding", "gzip"}},
	} {
		header := c.header
		if c.key != "" {
			header = append(header, "Idempotency-Key", c.key)
		}
		got := b.call("POST", acme, tok, c.body, header...)
		p := got.problem(t)
		if got.status != c.status || p.Field != c.field {
			t.Errorf("%.60s: %d %s, want %d for %s", c.body, got.status, got.body, c.status, c.field)
		}
	}
	if n := b.queued(); n != 0 {
		t.Errorf("%d of them were queued", n)
	}
	if got := b.call("POST", acme, tok, ""); got.status != http.StatusAccepted {
		t.Errorf("no body: %d %s", got.status, got.body)
	}
	if got := b.call("POST", acme+"?dry_run=1", tok, ""); got.status != 422 {
		t.Errorf("a parameter that does not exist: %d %s", got.status, got.body)
	}
}

func TestPagesHoldEveryExportOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tok := b.token("acme", access.Read, access.Export)
	want := map[string]string{}
	for i := range 12 {
		id := fmt.Sprintf("r%02d", i)
		attempt, r := b.claim("acme", id)
		switch i % 3 {
		case 0:
			b.complete(attempt, r)
			want[id] = "completed"
		case 1:
			b.fail(attempt, r, export.Fault{Code: codes.DumpTimeout, Message: "too long"})
			want[id] = "failed"
		case 2:
			b.fail(attempt, r, export.Fault{Code: codes.Cancelled, Message: "cancelled"})
			want[id] = "cancelled"
		}
	}
	// All were seen at the same instant: the id decides the order.
	b.exec("UPDATE pgcourier.requests SET created_at = '2026-01-02 03:04:05.000006+00'")
	for i := range 5 {
		id := fmt.Sprintf("w%02d", i)
		b.call("POST", acme, tok, "", "Idempotency-Key", id)
		want[id] = "waiting"
	}
	b.claim("globex", "other")
	for _, limit := range []int{1, 2, 5, 17, 200} {
		for _, states := range []string{"", "waiting", "completed,failed", "cancelled", "waiting,cancelled,running"} {
			got := map[string]string{}
			cursor, pages := "", 0
			for {
				var page struct {
					Exports []struct {
						ID    string `json:"request_id"`
						State string `json:"state"`
					}
					Next string `json:"next_cursor"`
				}
				path := fmt.Sprintf("%s?limit=%d&cursor=%s", acme, limit, cursor)
				if states != "" {
					path += "&state=" + states
				}
				a := b.call("GET", path, tok, "")
				if a.status != http.StatusOK {
					t.Fatalf("%s: %d %s", path, a.status, a.body)
				}
				a.into(t, &page)
				for _, e := range page.Exports {
					if _, twice := got[e.ID]; twice {
						t.Errorf("%s is on two pages of %d %s", e.ID, limit, states)
					}
					got[e.ID] = e.State
				}
				if len(page.Exports) > limit {
					t.Errorf("a page of %d has %d", limit, len(page.Exports))
				}
				if pages++; page.Next == "" || pages > 50 {
					break
				}
				cursor = page.Next
			}
			for id, state := range want {
				wanted := states == "" || strings.Contains(states, state)
				if _, there := got[id]; there != wanted || wanted && got[id] != state {
					t.Errorf("limit %d, states %q: %s is %q, want %q (%t)", limit, states, id, got[id], state, wanted)
				}
			}
			if _, leaked := got["other"]; leaked {
				t.Error("another project's export is listed")
			}
		}
	}
	for _, bad := range []string{"cursor=x", "cursor=e30", "limit=0", "limit=201", "limit=x", "state=lost", "since=yesterday"} {
		if got := b.call("GET", acme+"?"+bad, tok, ""); got.status != 422 || got.problem(t).Code != codes.InvalidRequest {
			t.Errorf("%s: %d %s", bad, got.status, got.body)
		}
	}
}

func TestARemovalIsOrderedAndCarriedOutBySweepers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tok := b.token("acme", access.Operate, access.Export)
	attempt, r := b.claim("acme", "done")
	b.complete(attempt, r)
	attempt, r = b.claim("acme", "failed")
	b.fail(attempt, r, export.Fault{Code: codes.DumpTimeout, Message: "too long"})
	b.call("POST", acme, tok, "", "Idempotency-Key", "waits")
	for id, status := range map[string]int{"done": 202, "failed": 409, "waits": 409, "unknown": 404} {
		if got := b.call("DELETE", acme+"/"+id, tok, ""); got.status != status {
			t.Errorf("%s: %d %s", id, got.status, got.body)
		}
	}
	if got := b.call("DELETE", acme+"/done", tok, ""); got.status != 202 {
		t.Errorf("again: %d %s", got.status, got.body)
	}
	ordered, err := b.ledger.Removals(t.Context(), 10)
	if err != nil || len(ordered) != 1 || ordered[0].ID.Request != "done" || ordered[0].Object != "acme/done.1.sql.gz" {
		t.Fatalf("ordered %+v, %v", ordered, err)
	}
	b.must(b.ledger.RemovalDone(t.Context(), ordered[0].ID))
	if e := b.call("GET", acme+"/done", b.token("acme", access.Read), "").export(t); e.RemovedAt == nil {
		t.Errorf("removed: %+v", e)
	}
	if left, err := b.ledger.Removals(t.Context(), 10); err != nil || len(left) != 0 {
		t.Errorf("left %+v, %v", left, err)
	}
	var calls int
	b.must(b.pool.QueryRow(t.Context(), "SELECT count(*) FROM pgcourier.api_calls WHERE action = 'delete-export' AND subject LIKE 'token:%' AND address = '127.0.0.1' AND object = 'done'").Scan(&calls))
	if calls != 1 {
		t.Errorf("%d calls noted, want 1", calls)
	}
}

func TestAVerificationIsOrderedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tok := b.token("acme", access.Operate, access.Export)
	attempt, r := b.claim("acme", "done")
	b.complete(attempt, r)
	attempt, r = b.claim("acme", "removed")
	b.complete(attempt, r)
	b.exec("UPDATE pgcourier.requests SET removed_at = now() WHERE request_id = 'removed'")
	attempt, r = b.claim("acme", "failed")
	b.fail(attempt, r, export.Fault{Code: codes.DumpTimeout, Message: "too long"})
	b.call("POST", acme, tok, "", "Idempotency-Key", "waits")
	for range 2 {
		for id, status := range map[string]int{"done": 202, "removed": 409, "failed": 409, "waits": 409, "unknown": 404, "a.b": 404} {
			if got := b.call("POST", acme+"/"+id+"/verify", tok, ""); got.status != status {
				t.Errorf("%s: %d %s", id, got.status, got.body)
			}
		}
	}
	o, err := b.ledger.TakeVerification(t.Context(), time.Minute, 5)
	if err != nil || o == nil || o.Request != "done" {
		t.Fatalf("%+v, %v", o, err)
	}
	if more, err := b.ledger.TakeVerification(t.Context(), time.Minute, 5); err != nil || more != nil {
		t.Errorf("more: %+v, %v", more, err)
	}
	var calls int
	b.must(b.pool.QueryRow(t.Context(), "SELECT count(*) FROM pgcourier.api_calls WHERE action = 'verify-export'").Scan(&calls))
	if calls != 1 {
		t.Errorf("%d calls noted, want 1", calls)
	}
}

func TestARequestThatNeverReachedTheQueueIsGivenUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	lost := ledger.Asked{ID: export.ID{Project: "acme", Request: "lost"}, Payload: []byte(`{}`), RequestedBy: "x"}
	if v, err := b.ledger.Ask(t.Context(), lost, ledger.Call{}); err != nil || v != ledger.AskNew {
		t.Fatal(v, err)
	}
	tok := b.token("acme", access.Read, access.Export)
	b.call("POST", acme, tok, "", "Idempotency-Key", "waits")
	b.exec("UPDATE pgcourier.api_requests SET asked_at = asked_at - interval '1 hour'")
	b.must(b.api.GiveUp(t.Context()))
	if got := b.call("GET", acme+"/lost", tok, ""); got.status != http.StatusNotFound {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := b.call("GET", acme+"/waits", tok, ""); got.status != http.StatusOK {
		t.Errorf("a waiting request was given up: %d %s", got.status, got.body)
	}
}

// A look into the queue ends after 5,000 messages. An accepted request behind them waits and will run.
func TestARequestBehindALongQueueIsNotGivenUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	// The same queue in memory: on a disk each message would be synced.
	queue, err := b.js.Stream(t.Context(), events.StreamRequests)
	b.must(err)
	workers, err := queue.Consumer(t.Context(), events.ConsumerExport)
	b.must(err)
	stored := queue.CachedInfo().Config
	stored.Storage, stored.MaxMsgsPerSubject = jetstream.MemoryStorage, 2*broker.MaxSearch
	b.must(b.js.DeleteStream(t.Context(), events.StreamRequests))
	_, err = b.js.CreateStream(t.Context(), stored)
	b.must(err)
	_, err = b.js.CreateConsumer(t.Context(), events.StreamRequests, workers.CachedInfo().Config)
	b.must(err)
	for range broker.MaxSearch {
		b.must(b.nc.Publish("backup.requested.acme", []byte("{}")))
	}
	// The API's connection is another one: wait until all are stored before it asks.
	brokertest.Eventually(t, "all requests are stored", func() bool {
		queue, err := b.js.Stream(t.Context(), events.StreamRequests)
		return err == nil && queue.CachedInfo().State.Msgs == broker.MaxSearch
	})
	tok := b.token("acme", access.Read, access.Export)
	if got := b.call("POST", acme, tok, "", "Idempotency-Key", "last"); got.status != http.StatusAccepted {
		t.Fatalf("%d %s", got.status, got.body)
	}
	b.exec("UPDATE pgcourier.api_requests SET asked_at = asked_at - interval '1 hour'")
	b.must(b.api.GiveUp(t.Context()))
	if got := b.call("GET", acme+"/last", tok, ""); got.status != http.StatusOK {
		t.Errorf("a waiting request was given up: %d %s", got.status, got.body)
	}
}

// A request of another gateway is visible before a worker claims it.
func TestARequestOfAnotherGatewayIsSeen(t *testing.T) {
	t.Parallel()
	b := setup(t)
	client, err := events.NewClient(b.nc)
	b.must(err)
	_, err = client.RequestBackup(t.Context(), events.Requested{ProjectID: "acme", RequestID: "theirs"})
	b.must(err)
	tok := b.token("acme", access.Read, access.Export)
	if e := b.call("GET", acme+"/theirs", tok, "").export(t); e.State != "waiting" || e.CreatedAt.IsZero() {
		t.Errorf("%+v", e)
	}
	for _, id := range []string{"none", "a.b", "*", "_"} {
		if got := b.call("GET", acme+"/"+id, tok, ""); got.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", id, got.status, got.body)
		}
	}
}
