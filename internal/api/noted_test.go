package api_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// noted returns the outcomes of the calls of an action on an object in the audit, the oldest first.
func (b *bench) noted(action, object string) string {
	b.t.Helper()
	var out string
	b.must(b.pool.QueryRow(b.t.Context(), "SELECT coalesce(string_agg(outcome, ' ' ORDER BY call_id), '') FROM pgcourier.api_calls WHERE action = $1 AND object LIKE $2", action, object).Scan(&out))
	return out
}

func TestTheAuditSaysWhatCallsCameTo(t *testing.T) {
	t.Parallel()
	notices := &box{all: []api.Notice{{Key: "email-p", State: "parked", Project: "acme"}}}
	b := setup(t, func(c *api.Config) { c.Notices = notices })
	b.must(broker.Provision(t.Context(), b.js, broker.Topology{Restores: true, MaxWaitingPerProject: 10}))
	var token api.Token
	tok := b.token("*", access.Admin)
	b.call("POST", "/v1/projects/acme/tokens", tok, `{"scopes":["read"]}`).into(t, &token)
	replies := make(chan events.CancelResult, 1)
	sub, err := b.nc.Subscribe(events.CancelFilter, func(m *nats.Msg) {
		reply, err := events.CancelReply{RequestID: "waits", Result: <-replies, Message: "so it is"}.Encode()
		if err == nil {
			err = m.Respond(reply.Body)
		}
		if err != nil {
			t.Error(err)
		}
	})
	b.must(err)
	b.must(b.nc.Flush())
	b.call("POST", acme, tok, "", "Idempotency-Key", "waits")
	call := func(what, method, path, body string, status int, action, object, outcomes string) {
		t.Helper()
		if got := b.call(method, "/v1/projects/acme/"+path, tok, body); got.status != status {
			t.Errorf("%s: %d %s", what, got.status, got.body)
		}
		if got := b.noted(action, object); got != outcomes {
			t.Errorf("%s: the audit says %q, want %q", what, got, outcomes)
		}
	}
	const cancel, replay = "exports/waits/cancel", "notifications/email-p/replay"
	replies <- events.CancelAccepted
	call("a cancel", "POST", cancel, "", 202, "cancel-export", "waits", "done")
	replies <- events.CancelTooLate
	call("a cancel that is too late", "POST", cancel, "", 409, "cancel-export", "waits", "done failed")
	b.must(sub.Unsubscribe())
	b.must(b.nc.Flush())
	call("a cancel without a worker", "POST", cancel, "", 503, "cancel-export", "waits", "done failed unknown")
	notices.right = api.ErrNoticeRight
	call("a replay without the right", "POST", replay, "", 501, "replay-notification", "email-p", "failed")
	notices.right = context.DeadlineExceeded
	call("a replay without an answer", "POST", replay, "", 503, "replay-notification", "email-p", "failed unknown")
	notices.right = nil
	call("a replay", "POST", replay, "", 202, "replay-notification", "email-p", "failed unknown done")
	call("a restore", "POST", "restores", `{"restore_id":"undo","from":{"request_id":"latest"}}`, 202, "create-restore", "undo", "done")
	call("a cancel of a restore", "POST", "restores/undo/cancel", "", 202, "cancel-restore", "undo", "done")
	call("a schedule", "PUT", "schedules/nightly", `{"cron":"@daily"}`, 200, "put-schedule", "nightly", "done")
	call("a schedule with a zone that is none", "PUT", "schedules/bad", `{"cron":"@daily","time_zone":"Mars/Base"}`, 422, "put-schedule", "bad", "")

	// A login that may not make tokens, and a database that fails: no token is made or revoked, and no call is noted.
	b.exec(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = TG_ARGV[0]; END $$`)
	for code, status := range map[string]int{"insufficient_privilege": 501, "raise_exception": 500} {
		b.exec("DROP TRIGGER IF EXISTS refuse ON pgcourier.api_tokens")
		b.exec(`CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OF revoked_at ON pgcourier.api_tokens FOR EACH ROW EXECUTE FUNCTION refuse('` + code + `')`)
		call("a token: "+code, "POST", "tokens", `{"scopes":["read"]}`, status, "create-token", "%", "done")
		call("a revocation: "+code, "DELETE", "tokens/"+token.ID, "", status, "revoke-token", "%", "")
	}
	b.exec("DROP TRIGGER refuse ON pgcourier.api_tokens")
	call("a revocation", "DELETE", "tokens/"+token.ID, "", 200, "revoke-token", token.ID, "done")
	call("a revocation of no token", "DELETE", "tokens/none", "", 404, "revoke-token", "none", "")
}

// The outcome of a request for an export is that of its publication.
func TestTheAuditSaysWhatRequestsCameTo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tok := b.token("acme", access.Export, access.Read)
	ask := func(id string) int { return b.call("POST", acme, tok, "", "Idempotency-Key", id).status }
	for i := range 10 { // as many as may wait
		if got := ask(fmt.Sprint("r", i)); got != http.StatusAccepted {
			t.Fatalf("%d", got)
		}
	}
	if got := ask("refused"); got != http.StatusTooManyRequests || b.noted("create-export", "refused") != "failed" {
		t.Errorf("refused: %d, %q", got, b.noted("create-export", "refused"))
	}
	b.broker.Shutdown()
	brokertest.Eventually(t, "the connection is seen as lost", func() bool { return !b.nc.IsConnected() })
	for _, id := range []string{"taken", "lost"} {
		if got := ask(id); got != http.StatusServiceUnavailable || b.noted("create-export", id) != "unknown" {
			t.Errorf("%s: %d, %q", id, got, b.noted("create-export", id))
		}
	}
	if got := ask("r0"); got != http.StatusServiceUnavailable || b.noted("create-export", "r0") != "done" {
		t.Errorf("again: %d, %q", got, b.noted("create-export", "r0"))
	}
	// A worker got the one all the same.
	b.claim("acme", "taken")
	b.must(b.ledger.TidyAPI(t.Context(), 0, 100))
	if got := b.noted("create-export", "taken"); got != "done" {
		t.Errorf("taken: %q", got)
	}
	asked, err := b.ledger.Unrecorded(t.Context(), 0, 100)
	b.must(err)
	for _, r := range asked {
		if r.Request == "lost" {
			b.must(b.ledger.TakeBack(t.Context(), r))
		}
	}
	if got := b.noted("create-export", "lost"); got != "failed" {
		t.Errorf("lost: %q", got)
	}
}
