package export_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

func TestACancelledAttemptIsKilledAndCleansUp(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		nudged bool
		after  time.Duration
	}{
		"notified at once":    {true, time.Second},
		"at its next renewal": {false, 10 * time.Second}, // a third of the lease
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := &dump{}
				b := newBench(func(ctx context.Context) (export.Dump, error) {
					d.Reader = stuck{ctx}
					return d, nil
				})
				b.ledger.renewals = []error{export.CancelledBy("ann")}
				if tc.nudged {
					time.AfterFunc(time.Second, func() {
						b.export.Nudge(export.ID{Project: "other", Request: "r"})
						b.export.Nudge(b.req.ID)
						b.export.Nudge(b.req.ID)
					})
				}
				begun := time.Now()
				out, err := b.run(t.Context(), delivery.Delivery{Number: 1})
				if err != nil || out.State != export.Failed || out.Code != codes.Cancelled || !out.Permanent || out.Message != "the request was cancelled by ann" {
					t.Errorf("outcome %+v, %v", out, err)
				}
				if took := time.Since(begun); took != tc.after {
					t.Errorf("ended after %s, want %s", took, tc.after)
				}
				if !d.closed || !slices.Equal(b.shelf.deleted, []string{"p/r.1.sql"}) || len(b.ledger.endings) != 1 {
					t.Errorf("closed %t, deleted %q, endings %+v", d.closed, b.shelf.deleted, b.ledger.endings)
				}
				b.export.Nudge(b.req.ID) // the attempt has ended
			})
		})
	}
}

func TestACancelDuringTheCommitUndoesTheExport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(good(2))
		b.ledger.finish = []error{export.CancelledBy(""), nil}
		out, err := b.run(t.Context(), delivery.Delivery{Number: 1})
		if err != nil || out.State != export.Failed || out.Code != codes.Cancelled || out.Artifact != nil {
			t.Errorf("outcome %+v, %v", out, err)
		}
		if len(b.shelf.objects) != 0 || len(b.ledger.endings) != 1 {
			t.Errorf("stored %q, endings %+v", b.shelf.objects, b.ledger.endings)
		}
	})
}

// book is a ledger as the Canceller sees it.
type book struct {
	found  [][]export.ID // one for each look, the last for ever
	answer export.Cancellation
	asked  []string
}

func (b *book) Find(context.Context, string, string) ([]export.ID, error) { return next(&b.found), nil }
func (b *book) Cancel(_ context.Context, id export.ID, by string) (export.Cancellation, error) {
	b.asked = append(b.asked, "cancel "+id.String()+" by "+by)
	return b.answer, nil
}
func (b *book) CancelQueued(_ context.Context, r export.Request, _ delivery.Delivery, by string) (export.Cancellation, error) {
	b.asked = append(b.asked, "cancel queued "+r.ID.String()+" by "+by)
	return b.answer, nil
}

type room struct {
	waiting []export.QueuedRequest
	removed []uint64
}

func (r *room) Waiting(context.Context, string, string) ([]export.QueuedRequest, error) {
	return r.waiting, nil
}
func (r *room) Remove(_ context.Context, d delivery.Delivery) error {
	r.removed = append(r.removed, d.Sequence)
	return nil
}

type announced struct{ outcomes []export.Outcome }

func (a *announced) Announce(_ context.Context, o export.Outcome) error {
	a.outcomes = append(a.outcomes, o)
	return errors.New("the broker is away") // which the sweeper makes up for
}

func TestWhereACancelIsRecorded(t *testing.T) {
	t.Parallel()
	id, foreign := export.ID{Project: "p", Request: "r"}, export.ID{Project: "q", Request: "r"}
	ended := export.Cancellation{Outcome: &export.Outcome{ID: id, State: export.Failed, Code: codes.Cancelled}}
	waits := export.QueuedRequest{Request: export.Request{ID: id}, Delivery: delivery.Delivery{Sequence: 7}}
	for name, tc := range map[string]struct {
		found   [][]export.ID
		waiting []export.QueuedRequest
		answer  export.Cancellation
		asked   string
		err     error
		told    bool
		removed int
	}{
		"running":                    {[][]export.ID{{id}}, nil, export.Cancellation{}, "cancel p/r by ann", nil, true, 0},
		"not held":                   {[][]export.ID{{id}}, nil, ended, "cancel p/r by ann", nil, false, 0},
		"of two projects":            {[][]export.ID{{id, foreign}}, nil, ended, "", export.ErrAmbiguous, false, 0},
		"nowhere":                    {[][]export.ID{nil}, nil, ended, "", export.ErrUnknown, false, 0},
		"in the queue":               {[][]export.ID{nil}, []export.QueuedRequest{waits}, ended, "cancel queued p/r by ann", nil, false, 1},
		"in the queue twice":         {[][]export.ID{nil}, []export.QueuedRequest{waits, waits}, ended, "cancel queued p/r by ann", nil, false, 2},
		"taken since":                {[][]export.ID{nil, {id}}, nil, export.Cancellation{}, "cancel p/r by ann", nil, true, 0},
		"taken since, twice":         {[][]export.ID{nil, {id, foreign}}, nil, ended, "", export.ErrAmbiguous, false, 0},
		"claimed while in the queue": {[][]export.ID{nil}, []export.QueuedRequest{waits}, export.Cancellation{}, "cancel queued p/r by ann", nil, true, 0},
		"in two projects' queues": {[][]export.ID{nil}, []export.QueuedRequest{waits, {Request: export.Request{ID: foreign}}},
			ended, "", export.ErrAmbiguous, false, 0},
	} {
		ledger, queue, announcer := &book{found: tc.found, answer: tc.answer}, &room{waiting: tc.waiting}, &announced{}
		var told []export.ID
		c := export.NewCanceller(export.CancellerConfig{
			Ledger: ledger, Queue: queue, Announcer: announcer,
			Tell: func(id export.ID) { told = append(told, id) }, Log: slog.New(slog.DiscardHandler),
		})
		got, out, err := c.Cancel(t.Context(), "r", "", "ann")
		if !errors.Is(err, tc.err) || err == nil && got != id || err == nil && out != tc.answer.Outcome {
			t.Errorf("%s: %v %+v %v", name, got, out, err)
		}
		if want := tc.asked; len(ledger.asked) > 1 || want != "" && !slices.Contains(ledger.asked, want) || want == "" && len(ledger.asked) > 0 {
			t.Errorf("%s: the ledger was asked to %q, want %q", name, ledger.asked, want)
		}
		if (len(told) == 1) != tc.told || len(queue.removed) != tc.removed || (len(announcer.outcomes) == 1) != (err == nil && out != nil) {
			t.Errorf("%s: reported %v, removed %v, announced %v", name, told, queue.removed, announcer.outcomes)
		}
	}
}
