package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/export"
)

// queuedRestores are the requests that the broker holds for acme.
func (b *bench) queuedRestores() []export.QueuedRequest {
	b.t.Helper()
	all, err := broker.NewRestoreQueue(b.js, handlers.DecodeStoredRestore).OfProject(b.t.Context(), "acme")
	b.must(err)
	return all
}

const restores = "/v1/projects/acme/restores"

func TestARestoreIsAskedForAndFollowed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.must(broker.Provision(t.Context(), b.js, broker.Topology{Restores: true, MaxWaitingPerProject: 2}))
	tok := b.token("acme", access.Restore)
	var r struct {
		State       string          `json:"state"`
		RequestedBy string          `json:"requested_by"`
		Outcome     json.RawMessage `json:"outcome"`
	}
	got := b.call("POST", restores, tok, `{"restore_id":"undo","from":{"request_id":"nightly"},"mode":"replace"}`)
	got.into(t, &r)
	if got.status != http.StatusAccepted || r.State != "waiting" || got.header.Get("Location") != restores+"/undo" || r.RequestedBy == "" {
		t.Fatalf("%d %s", got.status, got.body)
	}
	queued := b.queuedRestores()
	if len(queued) != 1 || queued[0].Request.Refusal != nil || queued[0].Request.ID != (export.ID{Project: "acme", Request: "undo"}) {
		t.Fatalf("queued are %+v", queued)
	}
	if got := b.call("GET", restores+"/undo", tok, ""); got.status != http.StatusOK {
		t.Errorf("a queued restore: %d %s", got.status, got.body)
	}
	// A restorer takes it.
	c, err := b.ledger.Restores().Claim(t.Context(), export.ClaimRequest{Request: queued[0].Request, Delivery: queued[0].Delivery, Worker: "w", Nonce: "n"})
	b.must(err)
	out := export.Outcome{
		ID: c.Token.ID, State: export.Completed, Attempt: 1, StartedAt: c.Started, FinishedAt: c.Started, Payload: queued[0].Request.Payload,
		Restored: []byte(`{"from":{"project_id":"acme","request_id":"nightly"},"mode":"replace","schemas":["a"],"tables":1,"rows":2,"server_version":"17.2"}`),
	}
	b.must(b.ledger.Restores().Finish(t.Context(), c.Token, export.Ending{Outcome: &out}))
	b.call("GET", restores+"/undo", b.token("acme", access.Read), "").into(t, &r)
	e, err := events.DecodeEvent(events.Message{Header: map[string]string{"ce-type": events.TypeRestoreCompleted}, Body: r.Outcome})
	if err != nil || r.State != "completed" || e.RestoreCompleted.Rows != 2 || e.RestoreCompleted.Request.Mode != events.RestoreReplace {
		t.Errorf("%+v, %v", r, err)
	}
	for body, want := range map[string]int{
		`{"restore_id":"undo","from":{"request_id":"nightly"},"mode":"replace","requested_by":"` + r.RequestedBy + `"}`: http.StatusAccepted,
		`{"restore_id":"undo","from":{"request_id":"other"}}`:                                                           http.StatusConflict,
		`{"restore_id":"undo"}`: http.StatusUnprocessableEntity,
		`{"restore_id":"undo","from":{"request_id":"x"},"dsn":"postgres://x"}`: http.StatusUnprocessableEntity,
	} {
		if got := b.call("POST", restores, tok, body); got.status != want {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	if got := b.call("POST", restores+"/undo/cancel", tok, ""); got.status != http.StatusConflict {
		t.Errorf("cancelled too late: %d %s", got.status, got.body)
	}
	b.call("POST", restores, tok, `{"restore_id":"waits","from":{"request_id":"nightly"}}`)
	got = b.call("POST", restores+"/waits/cancel", tok, "")
	got.into(t, &r)
	if got.status != http.StatusAccepted || r.State != "cancelled" {
		t.Errorf("cancelled while it waited: %d %s", got.status, got.body)
	}
	if got := b.call("GET", restores+"/never", tok, ""); got.status != http.StatusNotFound {
		t.Errorf("an unknown restore: %d", got.status)
	}
}

// The restorers are told of a cancel once the ledger has it, and it is accepted without any of them too.
func TestACancelOfARunningRestoreIsToldToTheRestorers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.must(broker.Provision(t.Context(), b.js, broker.Topology{Restores: true, MaxWaitingPerProject: 10}))
	tok := b.token("acme", access.Restore)
	told := make(chan events.RestoreCancel, 2)
	var running atomic.Pointer[export.Token]
	sub, err := b.nc.Subscribe(events.RestoreCancelFilter, func(m *nats.Msg) {
		ask, err := events.DecodeRestoreCancel(events.Message{Subject: m.Subject, Body: m.Data})
		if err != nil {
			t.Error(err)
		}
		if err := b.ledger.Restores().Renew(context.Background(), *running.Load()); !errors.Is(err, export.ErrCancelled) {
			t.Errorf("told before the ledger has it: %v", err)
		}
		reply, err := events.RestoreCancelReply{RestoreID: ask.RestoreID, ProjectID: ask.ProjectID, Result: events.CancelAccepted, Message: "so it is"}.Encode()
		if err == nil {
			err = m.Respond(reply.Body)
		}
		if err != nil {
			t.Error(err)
		}
		told <- ask
	})
	b.must(err)
	b.must(b.nc.Flush())
	b.call("POST", restores, tok, `{"restore_id":"undo","from":{"request_id":"nightly"}}`)
	queued := b.queuedRestores()
	c, err := b.ledger.Restores().Claim(t.Context(), export.ClaimRequest{Request: queued[0].Request, Delivery: queued[0].Delivery, Worker: "w", Nonce: "n"})
	b.must(err)
	running.Store(&c.Token)
	for _, noted := range []string{"done", "done done"} {
		if got := b.call("POST", restores+"/undo/cancel", tok, ""); got.status != http.StatusAccepted || b.noted("cancel-restore", "undo") != noted {
			t.Errorf("%d %s, %s", got.status, got.body, b.noted("cancel-restore", "undo"))
		}
		if sub.IsValid() { // the second time no restorer listens
			b.must(sub.Unsubscribe())
			b.must(b.nc.Flush())
		}
	}
	if len(told) != 1 {
		t.Fatalf("%d were told, want 1", len(told))
	}
	if ask := <-told; ask.RestoreID != "undo" || ask.ProjectID != "acme" || ask.RequestedBy == "" {
		t.Errorf("told of %+v", ask)
	}
}

// Before a restorer has recorded a restore, its id with other contents is a conflict too, also of calls at the same
// time. Calls with other ids do not disturb each other.
func TestAQueuedRestoreIsNotAskedForWithOtherContents(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const ways = 4
	b.must(broker.Provision(t.Context(), b.js, broker.Topology{Restores: true, MaxWaitingPerProject: 10 * ways}))
	tok := b.token("acme", access.Restore)
	const create, replace = `{"restore_id":"undo","from":{"request_id":"nightly"},"mode":"create"}`, `{"restore_id":"undo","from":{"request_id":"nightly"},"mode":"replace"}`
	for _, c := range []struct {
		body string
		want int
	}{{create, http.StatusAccepted}, {replace, http.StatusConflict}, {create, http.StatusAccepted}} {
		got := b.call("POST", restores, tok, c.body)
		if got.status != c.want || c.want == http.StatusConflict && !strings.Contains(string(got.body), `"code":"request_conflict"`) {
			t.Errorf("%s: %d %s", c.body, got.status, got.body)
		}
	}
	if queued := b.queuedRestores(); len(queued) != 1 {
		t.Fatalf("queued are %+v", queued)
	}
	var same, own [ways]answer
	var calls sync.WaitGroup
	for i := range ways {
		for id, got := range map[string]*answer{"same": &same[i], "own-" + strconv.Itoa(i): &own[i]} {
			calls.Go(func() {
				body := fmt.Sprintf(`{"restore_id":%q,"from":{"request_id":"of-%d"}}`, id, i)
				var err error
				if *got, err = b.try("POST", restores, tok, body); err != nil {
					t.Error(err)
				}
			})
		}
	}
	calls.Wait()
	accepted := 0
	for i := range ways {
		switch {
		case same[i].status == http.StatusAccepted:
			accepted++
		case same[i].status != http.StatusConflict:
			t.Errorf("the same id: %d %s", same[i].status, same[i].body)
		}
		if own[i].status != http.StatusAccepted {
			t.Errorf("an id of its own: %d %s", own[i].status, own[i].body)
		}
	}
	if queued := b.queuedRestores(); accepted != 1 || len(queued) != ways+2 {
		t.Errorf("%d were accepted, queued are %+v", accepted, queued)
	}
}

// A token that may restore into one project cannot read another's data that way.
func TestARestoreOfAnotherProjectNeedsARightThere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const body = `{"restore_id":"r","from":{"project_id":"globex","request_id":"latest"}}`
	if got := b.call("POST", restores, b.token("acme", access.Restore, access.Download), body); got.status != http.StatusForbidden {
		t.Errorf("with rights on its own project only: %d %s", got.status, got.body)
	}
	if got := b.call("POST", restores, b.token(access.AllProjects, access.Restore), body); got.status != http.StatusForbidden {
		t.Errorf("without the right to download: %d %s", got.status, got.body)
	}
	// This broker has no streams for restores.
	if got := b.call("POST", restores, b.token(access.AllProjects, access.Restore, access.Download), body); got.status != http.StatusNotImplemented {
		t.Errorf("with both: %d %s", got.status, got.body)
	}
}

// A page has no more than its limit, and each restore is on one page: first those in the queue.
func TestRestoresAreListedInPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.must(broker.Provision(t.Context(), b.js, broker.Topology{Restores: true, MaxWaitingPerProject: 10}))
	tok := b.token("acme", access.Restore)
	want := []string{}
	for _, id := range []string{"w3", "w2", "w1"} {
		want = append([]string{id}, want...)
		b.call("POST", restores, tok, `{"restore_id":"`+id+`","from":{"request_id":"nightly"}}`)
	}
	b.exec(`INSERT INTO pgcourier.restores (project_id, request_id, payload, digest, refused, origin, queue, queue_sequence, delivery, created_at)
		SELECT p, 'r' || n, '{}', sha256(''), false, '{}', 'q', n, 1, timestamptz '2026-01-02 03:04:05+00' + (n / 2) * interval '1 second'
		FROM generate_series(0, 4) n, unnest('{acme,globex}'::text[]) p`)
	want = append(want, "r4", "r3", "r2", "r1", "r0")
	for limit := 1; limit <= 9; limit++ {
		var got []string
		for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
			var page struct {
				Restores []struct {
					ID string `json:"restore_id"`
				}
				Next string `json:"next_cursor"`
			}
			b.call("GET", restores+"?limit="+strconv.Itoa(limit)+"&cursor="+cursor, tok, "").into(t, &page)
			if len(page.Restores) > limit || pages > 9 {
				t.Fatalf("%d on page %d with the limit %d", len(page.Restores), pages, limit)
			}
			for _, r := range page.Restores {
				got = append(got, r.ID)
			}
			cursor = page.Next
		}
		if !slices.Equal(got, want) {
			t.Errorf("with the limit %d: %v, want %v", limit, got, want)
		}
	}
	for _, bad := range []string{"limit=0", "limit=201", "limit=x", "cursor=x", "cursor=e30", "cursor=" + strings.Repeat("a", 401)} {
		if got := b.call("GET", restores+"?"+bad, tok, ""); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", bad, got.status, got.body)
		}
	}
}
