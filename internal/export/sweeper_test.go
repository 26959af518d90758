package export_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// graveyard is a queue with dead messages, with its ledger and announcer. Some ids belong to
// requests with another payload. Methods that it does not define are never called.
type graveyard struct {
	export.Reaper
	export.Collector
	dead      []export.QueuedRequest
	taken     []string
	fresh     []string // can still be run
	adopted   []string
	announced []export.ID
	oldest    time.Time // message
	ended     []string  // sessions of these requests and attempts
	records   int       // that are over
	before    []time.Time
}

func (g *graveyard) Forget(_ context.Context, _ time.Duration, before time.Time, limit int) (int, error) {
	n := min(g.records, limit)
	g.records -= n
	g.before = append(g.before, before)
	return n, nil
}

func (g *graveyard) Dead(context.Context) ([]export.QueuedRequest, error)        { return g.dead, nil }
func (g *graveyard) Holds(context.Context, string, uint64) (bool, error)         { return false, nil }
func (g *graveyard) Oldest(context.Context) (time.Time, error)                   { return g.oldest, nil }
func (g *graveyard) Remove(context.Context, delivery.Delivery) error             { g.dead = nil; return nil }
func (g *graveyard) Collectable(context.Context, int) ([]export.Leftover, error) { return nil, nil }
func (g *graveyard) Unpublished(context.Context, time.Duration, int) ([]export.Outcome, error) {
	return nil, nil
}

func (g *graveyard) Stranded(context.Context, time.Duration, int) ([]export.Stranded, error) {
	return nil, nil
}

func (g *graveyard) FailUnclaimed(_ context.Context, r export.Request, _ delivery.Delivery, _ time.Duration) (export.Outcome, error) {
	if slices.Contains(g.fresh, r.Request) {
		return export.Outcome{}, export.ErrNotBegun
	}
	if slices.Contains(g.taken, r.Request) {
		return export.Outcome{}, export.ErrConflict
	}
	return export.Outcome{ID: r.ID, State: export.Failed, Code: codes.WorkerLost, Attempt: 2}, nil
}

func (g *graveyard) endSessions(_ context.Context, id export.ID, attempts int) error {
	g.ended = append(g.ended, fmt.Sprint(id, " ", attempts))
	return nil
}

func (g *graveyard) rescue(_ context.Context, d export.QueuedRequest) {
	g.adopted = append(g.adopted, d.Request.Request)
}

func (g *graveyard) Announce(_ context.Context, out export.Outcome) error {
	g.announced = append(g.announced, out.ID)
	return nil
}

// A dead message with ids that all belong to another request ends under a further id, and does not
// stay in the queue for ever.
func TestADeadMessageWithTheIDsOfAnotherRequestIsRemoved(t *testing.T) {
	t.Parallel()
	g := &graveyard{taken: []string{"r", "e-7"}, dead: []export.QueuedRequest{{
		Request:  export.Request{ID: export.ID{Project: "p", Request: "r"}},
		Delivery: delivery.Delivery{EventID: "e-7", Number: 3, Last: true},
	}}}
	s := export.NewSweeper(export.SweeperConfig{
		Reaper: g, Collector: g, Queue: g, Announcer: g, EndSessions: g.endSessions, Log: slog.New(slog.DiscardHandler),
	})
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"p/e-7-c1 2"}; !slices.Equal(g.ended, want) {
		t.Errorf("sessions ended of %q, want %q: no further attempt ends them", g.ended, want)
	}
	if want := []export.ID{{Project: "p", Request: "e-7-c1"}}; !slices.Equal(g.announced, want) || len(g.dead) > 0 {
		t.Errorf("announced %v, left in the queue %v", g.announced, g.dead)
	}
}

// A message that used up its deliveries while it waited for its turn is run and does not fail.
func TestARequestThatOnlyWaitedIsRescued(t *testing.T) {
	t.Parallel()
	g := &graveyard{fresh: []string{"r"}, dead: []export.QueuedRequest{{
		Request:  export.Request{ID: export.ID{Project: "p", Request: "r"}},
		Delivery: delivery.Delivery{EventID: "e-7", Number: 3, Last: true},
	}}}
	s := export.NewSweeper(export.SweeperConfig{
		Reaper: g, Collector: g, Queue: g, Announcer: g, Rescue: g.rescue, Log: slog.New(slog.DiscardHandler),
	})
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(g.adopted, []string{"r"}) || len(g.announced) > 0 || len(g.dead) != 1 {
		t.Errorf("adopted %q, announced %v, left in the queue %v", g.adopted, g.announced, g.dead)
	}
}

// A sweep forgets in batches with a total limit, and nothing that a message in the queue may be
// about.
func TestASweepForgets(t *testing.T) {
	t.Parallel()
	const keep = 400 * 24 * time.Hour
	begun := time.Now()
	for name, tc := range map[string]struct {
		keep          time.Duration
		oldest        time.Time
		records       int
		batches, left int
	}{
		"never":                       {0, time.Time{}, 700, 0, 700},
		"an empty queue":              {keep, time.Time{}, 700, 2, 0},
		"a young message":             {keep, begun, 500, 2, 0},
		"a message older than a year": {keep, begun.Add(-500 * 24 * time.Hour), 499, 1, 0},
		"a backlog":                   {keep, time.Time{}, 100_000, 20, 90_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &graveyard{oldest: tc.oldest, records: tc.records}
			s := export.NewSweeper(export.SweeperConfig{
				Reaper: g, Collector: g, Queue: g, Announcer: g, Cleaner: g, Keep: tc.keep, Log: slog.New(slog.DiscardHandler),
			})
			if err := s.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(g.before) != tc.batches || g.records != tc.left {
				t.Errorf("%d batches, %d records left", len(g.before), g.records)
			}
			for _, before := range g.before {
				if before.After(time.Now().Add(-tc.keep)) || !tc.oldest.IsZero() && !before.Before(tc.oldest) {
					t.Errorf("forgot requests that ended before %s, with a message of %s", before, tc.oldest)
				}
			}
		})
	}
}
