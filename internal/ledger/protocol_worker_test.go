package ledger_test

import (
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

// worker handles one delivery, one step at a time; between two steps it may pause for any time, or
// crash.
type worker struct {
	m       *model
	msg     *message
	name    string
	ask     export.ClaimRequest
	token   export.Token
	ending  export.Ending
	outcome export.Outcome
	next    func()
	rescued bool // works on a message that will not be delivered again
}

func (m *model) hire(msg *message) {
	w := &worker{m: m, msg: msg, name: fmt.Sprintf("worker %d.%d", msg.sequence, msg.number)}
	w.ask = claimOf(msg.request, 1)
	w.ask.Delivery = msg.delivery()
	if m.wrong.lateIntentRow {
		w.ask.Object = nil
	}
	w.next = w.claim
	m.workers = append(m.workers, w)
	m.say("%s hired", w.name)
}

func (w *worker) step() { w.next() }

func (w *worker) crash() {
	w.say("crashes")
	w.leave()
}

func (w *worker) leave() {
	w.m.workers = slices.DeleteFunc(w.m.workers, func(o *worker) bool { return o == w })
}

func (w *worker) say(what string) {
	w.m.saw[what]++
	w.m.say("%s (attempt %d) %s", w.name, w.token.Attempt, what)
}

// renew does what the lease keeper does during the work.
func (w *worker) renew() {
	if w.token.Attempt == 0 || w.ending.Outcome != nil || w.ending.Retry != nil {
		return
	}
	if w.m.wrong.blindRenewal {
		w.m.exec(w.m.t, "UPDATE pgcourier.requests SET lease_until = clock_timestamp() + interval '30 s' WHERE project_id = $1 AND request_id = $2 AND attempt = $3 AND state = 'running'",
			w.token.Project, w.token.Request, w.token.Attempt)
	}
	err := w.m.Renew(w.m.t.Context(), w.token)
	switch {
	case errors.Is(err, export.ErrSuperseded):
		w.say("learns that it is superseded")
		w.next = w.abandon
	case w.m.unless(err):
		w.say("renews")
	}
}

func (w *worker) claim() {
	c, err := w.m.claim(w.ask)
	if !w.m.unless(err) {
		return
	}
	if c.Verdict == export.Granted && w.m.chance("claim's reply lost", 6) {
		return // it asks again
	}
	switch c.Verdict {
	case export.Granted:
		w.token = c.Token
		w.say("claims")
		if w.next = w.begin; w.ask.Request.Refusal != nil {
			w.decide()
		} else if c.Token.Attempt > 1 {
			w.look()
		}
	case export.Ended:
		w.say("finds it ended")
		w.outcome = c.Outcome
		if w.next = w.announce; c.Outcome.Code == codes.WorkerLost {
			w.look()
		}
	case export.Leased:
		if w.say("stands by"); w.rescued {
			w.leave()
		}
	case export.Busy:
		if w.say("waits for its turn"); w.rescued {
			w.leave()
		}
	case export.Conflicting:
		w.say("finds a conflict")
		w.ask.Request.ID.Request = w.ask.Delivery.EventID
		w.ask.Request.Refusal = &export.Fault{Code: codes.RequestConflict, Message: "taken"}
	}
}

// look ends the work if the request's export was announced before.
func (w *worker) look() {
	out, err := w.m.announced.Look(w.m.t.Context(), w.ask.Request.ID)
	if err != nil {
		w.next = w.claim // it asks again
		return
	}
	if out == nil {
		return
	}
	w.say("finds it announced")
	w.outcome, w.next = *out, w.announce
}

func (w *worker) begin() {
	w.say("begins its object")
	w.m.storage[w.m.key(w.token)] = object{by: w.token}
	w.next = w.complete
}

func (w *worker) complete() {
	if w.m.chance("dump fails", 4) {
		w.say("fails to dump")
		if !w.m.chance("clean-up fails", 2) {
			delete(w.m.storage, w.m.key(w.token))
		}
		w.decide()
		return
	}
	w.say("completes its object")
	w.m.storage[w.m.key(w.token)] = object{by: w.token, whole: true}
	if w.next = w.succeed; w.m.wrong.lateIntentRow {
		w.next = w.recordIntent
	}
}

func (w *worker) recordIntent() {
	w.m.exec(w.m.t, "UPDATE pgcourier.attempts SET object = $4 WHERE project_id = $1 AND request_id = $2 AND attempt = $3 AND result = 'running'",
		w.token.Project, w.token.Request, w.token.Attempt, w.m.key(w.token))
	w.next = w.succeed
}

func (w *worker) succeed() {
	w.ending.Outcome = outcome(w.token, w.ask.Request)
	w.conclude()
}

// decide handles a failed attempt.
func (w *worker) decide() {
	code := codes.DumpFailed
	if w.ask.Request.Refusal != nil {
		code = w.ask.Request.Refusal.Code
	}
	if !code.Permanent() && w.token.Attempt < 3 && !w.ask.Delivery.Last {
		w.ending.Retry = &export.Fault{Code: code}
		w.next = w.commit
		return
	}
	w.ending.Outcome = failure(w.ask.Request, w.token.Attempt, code)
	w.ending.Outcome.FinishedAt = outcome(w.token, w.ask.Request).FinishedAt
	w.conclude()
}

func (w *worker) conclude() {
	w.outcome = *w.ending.Outcome
	if w.next = w.commit; w.m.wrong.publishBeforeCommit {
		w.m.announce(w.outcome)
	}
}

func (w *worker) commit() {
	token := w.token
	if w.m.wrong.stateOnlyGuard {
		token = w.m.currentToken(token)
	}
	before := w.m.fingerprint(w.m.t)
	err := w.m.Finish(w.m.t.Context(), token, w.ending)
	if w.m.chance("finish's reply lost", 4) {
		first := err
		if err = w.m.Finish(w.m.t.Context(), token, w.ending); (first == nil) != (err == nil) {
			w.m.fail(losersSilent, "%s finished twice: first %v, then %v", w.name, first, err)
		}
	}
	switch {
	case errors.Is(err, export.ErrSuperseded):
		w.say("is superseded")
		if w.m.fingerprint(w.m.t) != before {
			w.m.fail(losersSilent, "%s was superseded and changed the ledger", w.name)
		}
		w.next = w.abandon
	case !w.m.unless(err):
	case w.ending.Retry != nil:
		w.say("is to be tried again")
		w.leave()
	default:
		w.say("commits " + string(w.outcome.State))
		if w.next = w.announce; w.m.wrong.markBeforePublish {
			w.next = w.mark
		}
	}
}

func (w *worker) announce() {
	w.m.announce(w.outcome)
	if w.next = w.mark; w.m.wrong.markBeforePublish {
		w.next = w.ack
	}
}

func (w *worker) mark() {
	w.m.unless(w.m.MarkPublished(w.m.t.Context(), w.outcome.ID))
	if w.next = w.ack; w.m.wrong.markBeforePublish {
		w.next = w.announce
	}
}

func (w *worker) ack() {
	w.say("acknowledges")
	w.msg.gone = true
	w.leave()
}

func (w *worker) abandon() {
	w.say("deletes what it stored")
	delete(w.m.storage, w.m.key(w.token))
	w.leave()
}

// The following functions read and change the tables for the checks and the mutants.

func (m *model) entries() []ledger.Entry {
	all, err := m.List(m.t.Context(), ledger.Filter{})
	m.unless(err)
	return all
}

func (m *model) digests() map[export.ID][32]byte {
	rows, err := m.pool.Query(m.t.Context(), "SELECT project_id, request_id, digest FROM pgcourier.requests")
	if !m.unless(err) {
		return nil
	}
	out := map[export.ID][32]byte{}
	var id export.ID
	var digest []byte
	_, err = pgx.ForEachRow(rows, []any{&id.Project, &id.Request, &digest}, func() error {
		out[id] = [32]byte(digest)
		return nil
	})
	m.unless(err)
	return out
}

// claim is the ledger's, or that of the mutant that ignores the other running requests.
func (m *model) claim(c export.ClaimRequest) (export.Claim, error) {
	if !m.wrong.noTurns {
		return m.Claim(m.t.Context(), c)
	}
	const hide = "UPDATE pgcourier.requests SET refused = NOT refused WHERE project_id = $1 AND request_id <> $2 AND state = 'running'"
	m.exec(m.t, hide, c.Request.Project, c.Request.Request)
	defer m.exec(m.t, hide, c.Request.Project, c.Request.Request)
	return m.Claim(m.t.Context(), c)
}

// running counts the requests that run under a lease, for each project.
func (m *model) running() map[string]int {
	rows, err := m.pool.Query(m.t.Context(), "SELECT project_id FROM pgcourier.requests WHERE state = 'running' AND lease_until > clock_timestamp() AND NOT refused")
	if !m.unless(err) {
		return nil
	}
	out := map[string]int{}
	var project string
	_, err = pgx.ForEachRow(rows, []any{&project}, func() error { out[project]++; return nil })
	m.unless(err)
	return out
}

// currentToken is the token that a guard without the attempt accepts.
func (m *model) currentToken(t export.Token) export.Token {
	m.unless(m.pool.QueryRow(m.t.Context(), "SELECT attempt FROM pgcourier.requests WHERE project_id = $1 AND request_id = $2",
		t.Project, t.Request).Scan(&t.Attempt))
	return t
}

// expired is what a faulty collector deletes in addition.
func (m *model) expired() []export.Leftover {
	rows, err := m.pool.Query(m.t.Context(), `SELECT object FROM pgcourier.attempts JOIN pgcourier.requests USING (project_id, request_id)
		WHERE result = 'running' AND object IS NOT NULL AND lease_until <= clock_timestamp()`)
	if !m.unless(err) {
		return nil
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	m.unless(err)
	var left []export.Leftover
	for _, k := range keys {
		left = append(left, export.Leftover{Object: k})
	}
	return left
}

// unbind removes the fence of a paused owner when its request is reaped.
func (m *model) unbind(o export.Outcome) {
	m.exec(m.t, "UPDATE pgcourier.requests SET attempt = $3, state = 'running', lease_until = clock_timestamp(), outcome = NULL, code = NULL, finished_at = NULL, published_at = NULL WHERE project_id = $1 AND request_id = $2 AND $3 > 0",
		o.Project, o.Request, o.Attempt)
	m.exec(m.t, "UPDATE pgcourier.attempts SET result = 'running', ended_at = NULL, collect_after = NULL WHERE project_id = $1 AND request_id = $2 AND attempt = $3",
		o.Project, o.Request, o.Attempt)
}
