package ledger_test

import (
	"context"
	"runtime"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/restore/operation"
)

func exitGoroutine() { runtime.Goexit() }

// pausing is the ledger with a pause before each call of a restorer.
type pausing struct {
	operation.Ledger
	w *restorer
}

func (p pausing) Claim(ctx context.Context, c export.ClaimRequest) (export.Claim, error) {
	p.w.pause()
	return p.Ledger.Claim(ctx, c)
}

func (p pausing) Renew(ctx context.Context, t export.Token) error {
	p.w.pause()
	return p.Ledger.Renew(ctx, t)
}

func (p pausing) Finish(ctx context.Context, t export.Token, e export.Ending) error {
	p.w.pause()
	if p.w.m.wrong.unconditional {
		return p.Ledger.FinishSettled(ctx, t, e)
	}
	return p.Ledger.Finish(ctx, t, e)
}

func (p pausing) FinishSettled(ctx context.Context, t export.Token, e export.Ending) error {
	p.w.pause()
	return p.Ledger.FinishSettled(ctx, t, e)
}

func (p pausing) BeginPlacing(ctx context.Context, t export.Token, target []byte) ([]byte, error) {
	p.w.pause()
	if p.w.m.wrong.noIntent {
		return target, nil
	}
	return p.Ledger.BeginPlacing(ctx, t, target)
}

func (p pausing) End(ctx context.Context, s export.Stranded, grace time.Duration, how operation.Settlement) (export.Outcome, error) {
	p.w.pause()
	return p.Ledger.End(ctx, s, grace, how)
}

// asking is the ledger of a reaper. It knows when the target was asked, and not answered, for so long
// that the restore may be unknown.
type asking struct {
	operation.Ledger
	m *restoreModel
}

func (a asking) Standing(ctx context.Context, id export.ID) (operation.Standing, error) {
	s, err := a.Ledger.Standing(ctx, id)
	hours := a.m.asked[id]
	switch n := len(hours); {
	case err != nil || s.Age < 0: // the question is not asked
	case n == 0 || hours[n-1] < a.m.hour-1: // the first one after a pause
		a.m.asked[id] = []int{a.m.hour}
	case hours[n-1] < a.m.hour:
		a.m.asked[id] = append(hours, a.m.hour)
	}
	return s, err
}

func (a asking) Unanswered(ctx context.Context, id export.ID, gap time.Duration) (time.Duration, error) {
	if a.m.wrong.impatient {
		s, err := a.Ledger.Standing(ctx, id)
		return s.Age, err
	}
	return a.Ledger.Unanswered(ctx, id, gap)
}

func (a asking) End(ctx context.Context, s export.Stranded, grace time.Duration, how operation.Settlement) (export.Outcome, error) {
	out, err := a.Ledger.End(ctx, s, grace, how)
	if hours := a.m.asked[s.ID]; err == nil && out.Code == codes.RestoreUnknown && how.Fault != nil && len(hours) < 3 {
		a.m.fail(patience, "%s is unknown after questions in the hours %v", s.ID, hours)
	}
	return out, err
}

// targets is the control plane's answer.
type targets struct{ m *restoreModel }

func (t targets) Lookup(context.Context, string) (operation.Target, error) {
	return operation.Target{Schema: []string{"a", "b"}[t.m.target], AllowReplace: true}, nil
}

// targetWorld is the engine over two targets that hold nothing but markers.
type targetWorld struct {
	m *restoreModel
	w *restorer // nil: the sweeper
}

func (e targetWorld) Identity(t operation.Target) ([]byte, error) {
	if e.m.wrong.oneIdentity {
		return []byte("any"), nil
	}
	return []byte(t.Schema), nil
}

func (e targetWorld) Plan(context.Context, operation.Job) (operation.Result, error) {
	return operation.Result{}, nil
}

// marker is the id of a job's marker.
func (e targetWorld) marker(j operation.Job) string {
	if e.m.wrong.noMarker {
		return j.ID.String()
	}
	return j.MarkerID()
}

// reach is one way to the target of a job.
func (e targetWorld) reach(j operation.Job) (map[string]string, error) {
	e.w.pause()
	if e.m.down {
		e.m.say("cannot reach the target")
		return nil, &export.Fault{Code: codes.TargetUnavailable, Message: "down"}
	}
	delete(e.m.asked, j.ID)
	if j.Target.Schema == "b" {
		return e.m.markers[1], nil
	}
	return e.m.markers[0], nil
}

func (e targetWorld) Place(_ context.Context, j operation.Job, _ func(operation.Progress)) (operation.Result, error) {
	for range 2 { // it feeds; then it commits
		if _, err := e.reach(j); err != nil {
			return operation.Result{}, err
		}
	}
	if e.m.chance("the target refuses a statement", 6) {
		return operation.Result{}, &export.Fault{Code: codes.RestoreRejected, Message: "refused"}
	}
	at, err := e.reach(j)
	switch {
	case err != nil:
		return operation.Result{}, err
	case at[e.marker(j)] == "refused" && !e.m.wrong.noLook:
		e.m.say("is refused by a tombstone")
		return operation.Result{}, &export.Fault{Code: codes.WorkerLost, Message: "refused", Err: operation.ErrRefused}
	case at[e.marker(j)] == "committed" && !e.m.wrong.noLook:
		e.m.say("finds that it has committed")
		return operation.Result{}, nil
	}
	e.m.say("commits")
	at[e.marker(j)] = "committed"
	e.m.commits[e.m.life(j.ID)]++
	if e.m.chance("reply lost", 4) {
		e.m.say("loses the reply of COMMIT")
		return operation.Result{}, &export.Fault{Code: codes.TargetUnavailable, Message: "lost"}
	}
	e.w.pause()
	return operation.Result{}, nil
}

func (e targetWorld) Committed(_ context.Context, j operation.Job) (*operation.Result, error) {
	at, err := e.reach(j)
	if err != nil || at[e.marker(j)] != "committed" || e.m.wrong.noLook {
		return nil, err
	}
	e.m.say("finds that it has committed")
	return &operation.Result{}, nil
}

func (e targetWorld) Refuse(_ context.Context, j operation.Job) (*operation.Result, error) {
	if e.m.wrong.noRefusal {
		return nil, nil //nolint:nilnil // the mutant
	}
	at, err := e.reach(j)
	if err != nil {
		return nil, err
	}
	if at[e.marker(j)] == "committed" {
		e.m.say("finds on refusing that it has committed")
		return &operation.Result{}, nil
	}
	e.m.say("refuses")
	at[e.marker(j)] = "refused"
	e.w.pause()
	return nil, nil //nolint:nilnil // refused is an ordinary answer
}

type exportsWorld struct{}

func (exportsWorld) Latest(context.Context, string, bool) (string, error) { return "x", nil }

func (exportsWorld) Completed(context.Context, export.ID) (*export.Outcome, error) {
	return &export.Outcome{State: export.Completed, Artifact: &export.Artifact{StoredBytes: 1}}, nil
}

type silentObserver struct{}

func (silentObserver) RestoreStarted(context.Context, operation.Started)   {}
func (silentObserver) RestoreProgress(context.Context, operation.Progress) {}

type restoreQueue struct{ m *restoreModel }

func (q restoreQueue) Dead(context.Context) ([]export.QueuedRequest, error) {
	var dead []export.QueuedRequest
	for _, msg := range q.m.messages {
		if !msg.gone && msg.number == deliveries {
			dead = append(dead, export.QueuedRequest{Request: msg.request, Delivery: msg.delivery()})
		}
	}
	return dead, nil
}

func (q restoreQueue) Holds(_ context.Context, _ string, sequence uint64) (bool, error) {
	return !q.m.messages[sequence-1].gone, nil
}

func (q restoreQueue) Oldest(context.Context) (time.Time, error) { return time.Time{}, nil }

func (q restoreQueue) Remove(_ context.Context, d delivery.Delivery) error {
	q.m.messages[d.Sequence-1].gone = true
	return nil
}

type restoreAnnouncer struct{ m *restoreModel }

func (a restoreAnnouncer) Announce(ctx context.Context, out export.Outcome) error {
	a.m.end(out)
	return a.m.led.MarkPublished(ctx, out.ID)
}

// blindReaper is the mutant that ends what it finds without asking the target.
type blindReaper struct{ m *restoreModel }

func (r blindReaper) Unpublished(ctx context.Context, age time.Duration, limit int) ([]export.Outcome, error) {
	return r.m.led.Unpublished(ctx, age, limit)
}

func (r blindReaper) Stranded(ctx context.Context, grace time.Duration, limit int) ([]export.Stranded, error) {
	return r.m.led.Stranded(ctx, grace, limit)
}

func (r blindReaper) FailStranded(ctx context.Context, s export.Stranded, grace time.Duration) (export.Outcome, error) {
	return r.m.led.End(ctx, s, grace, operation.Settlement{})
}

func (r blindReaper) FailUnclaimed(ctx context.Context, q export.Request, d delivery.Delivery, grace time.Duration) (export.Outcome, error) {
	out, err := r.m.led.FailUnclaimed(ctx, q, d, grace)
	if err == nil {
		return out, nil
	}
	s, standingErr := r.m.led.Standing(ctx, q.ID)
	if standingErr != nil {
		return out, err
	}
	return r.m.led.End(ctx, export.Stranded{ID: q.ID, Attempt: s.Attempt}, grace, operation.Settlement{})
}
