package api_test

import (
	"encoding/json"
	"net/http"
	"testing"

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
