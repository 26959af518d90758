package export_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// stream has one completed export, or an error for all requests.
type stream struct {
	completed *export.Manifest
	err       error
}

func (s stream) Completed(context.Context, export.ID) (*export.Manifest, error) {
	return s.completed, s.err
}

// recorder is a ledger that has lost every announced export.
type recorder struct{}

func (recorder) RecordAnnounced(context.Context, export.Manifest) (bool, error) { return true, nil }

// full fills the shelf with an export of the first attempt, and lets the ledger have lost it.
func (b *bench) full(s stream) {
	b.export.Announced = &export.Announced{Stream: s, Ledger: recorder{}, Log: slog.New(slog.DiscardHandler)}
	b.shelf.objects["p/r.1.sql"] = whole
}

func completedBy(attempt int) *export.Manifest {
	return &export.Manifest{Outcome: export.Outcome{
		ID: export.ID{Project: "p", Request: "r"}, State: export.Completed, Attempt: attempt, Artifact: &export.Artifact{},
	}}
}

// An object that an announced outcome names stays, whenever the attempt with the same key ends.
func TestAnAnnouncedObjectIsNotDiscarded(t *testing.T) {
	t.Parallel()
	begun := func(ctx context.Context) (export.Dump, error) { return &dump{Reader: stuck{ctx}}, nil }
	before := func(ctx context.Context) (export.Dump, error) {
		_, err := io.ReadAll(stuck{ctx})
		return nil, err
	}
	for name, tc := range map[string]struct {
		open   func(context.Context) (export.Dump, error)
		why    error // of the first renewal
		stream stream
		kept   bool
		ended  export.State // empty: superseded
	}{
		"cancelled before it stores":                {before, export.CancelledBy("ann"), stream{completedBy(1), nil}, true, export.Completed},
		"cancelled while it stores":                 {begun, export.CancelledBy("ann"), stream{completedBy(1), nil}, true, export.Completed},
		"cancelled, announced by another":           {begun, export.CancelledBy("ann"), stream{completedBy(2), nil}, false, export.Completed},
		"cancelled, unread":                         {begun, export.CancelledBy("ann"), stream{nil, errors.New("broken")}, true, export.Failed},
		"cancelled, not announced":                  {begun, export.CancelledBy("ann"), stream{}, false, export.Failed},
		"cancelled before it stores, not announced": {before, export.CancelledBy("ann"), stream{}, true, export.Failed},
		"superseded before it stores":               {before, export.ErrSuperseded, stream{completedBy(1), nil}, true, ""},
		"superseded while it stores":                {begun, export.ErrSuperseded, stream{completedBy(1), nil}, true, ""},
		"superseded, announced by another":          {begun, export.ErrSuperseded, stream{completedBy(2), nil}, false, ""},
		"superseded, unread":                        {begun, export.ErrSuperseded, stream{nil, errors.New("broken")}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(tc.open)
				b.full(tc.stream)
				b.ledger.renewals = []error{tc.why}
				out, err := b.run(t.Context(), delivery.Delivery{Number: 1})
				if tc.ended == "" && !errors.Is(err, export.ErrSuperseded) || tc.ended != "" && (err != nil || out.State != tc.ended) {
					t.Errorf("outcome %+v, %v", out, err)
				}
				if _, kept := b.shelf.objects["p/r.1.sql"]; kept != tc.kept {
					t.Errorf("deleted %q", b.shelf.deleted)
				}
				for _, e := range b.ledger.endings {
					if e.Unwritten {
						t.Error("the collector will not look at the attempt")
					}
				}
			})
		})
	}
}

// An attempt that is superseded while it ends does not discard what was announced of it meanwhile.
func TestACommitThatComesTooLateKeepsAnAnnouncedObject(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(good(2))
		b.full(stream{completedBy(1), nil})
		b.ledger.finish = []error{export.ErrSuperseded}
		if _, err := b.run(t.Context(), delivery.Delivery{Number: 1}); !errors.Is(err, export.ErrSuperseded) || len(b.shelf.deleted) > 0 {
			t.Errorf("err = %v, deleted %q", err, b.shelf.deleted)
		}
	})
}

// A cancelled attempt that cannot ask the broker before its process ends leaves its object to the collector.
func TestACancelledAttemptWithoutABrokerDeletesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(func(ctx context.Context) (export.Dump, error) { return &dump{Reader: stuck{ctx}}, nil })
		b.full(stream{nil, export.ErrUnavailable})
		b.ledger.renewals = []error{export.CancelledBy("ann")}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		if _, err := b.run(ctx, delivery.Delivery{Number: 1}); err != nil || len(b.shelf.deleted) > 0 {
			t.Errorf("err = %v, deleted %q", err, b.shelf.deleted)
		}
	})
}

// unreadable is a stream with an outcome that cannot be read: that of the request r.
type unreadable struct{ err error }

func (u unreadable) Completed(_ context.Context, id export.ID) (*export.Manifest, error) {
	if id.Request == "r" {
		return nil, u.err
	}
	return nil, nil //nolint:nilnil // none was announced
}

// leftovers is a graveyard with objects to collect.
type leftovers struct {
	*graveyard
	left, gone []export.Leftover
}

func (l *leftovers) Collectable(context.Context, int) ([]export.Leftover, error) { return l.left, nil }
func (l *leftovers) Collected(_ context.Context, gone []export.Leftover) error {
	l.gone = gone
	return nil
}

// An outcome that cannot be read holds back its own request only; a broker that is away holds back all.
func TestAnUnreadableOutcomeHoldsBackNoOtherRequest(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err  error
		done int // requests
	}{
		"cannot be decoded": {errors.New("broken"), 1},
		"away":              {export.ErrUnavailable, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &leftovers{graveyard: &graveyard{}}
			shelf := &shelf{objects: map[string]string{}}
			for _, r := range []string{"r", "other"} {
				id := export.ID{Project: "p", Request: r}
				g.dead = append(g.dead, export.QueuedRequest{Request: export.Request{ID: id}})
				g.left = append(g.left, export.Leftover{Token: export.Token{ID: id, Attempt: 1}, Object: "p/" + r})
			}
			s := export.NewSweeper(export.SweeperConfig{
				Reaper: g, Collector: g, Queue: g, Announcer: g, Store: shelf, Log: slog.New(slog.DiscardHandler),
				Announced: &export.Announced{Stream: unreadable{tc.err}, Ledger: recorder{}, Log: slog.New(slog.DiscardHandler)},
			})
			if err := s.Sweep(t.Context()); !errors.Is(err, tc.err) {
				t.Errorf("err = %v", err)
			}
			if len(g.announced) != tc.done || len(g.gone) != tc.done || len(shelf.deleted) != tc.done {
				t.Errorf("ended %v, collected %v, deleted %q", g.announced, g.gone, shelf.deleted)
			}
		})
	}
}
