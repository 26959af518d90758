package handlers_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// room is a queue in which some messages wait.
type room struct {
	waiting int
	asked   []int
	given   []any
}

func (r *room) gather(n int, join func(int) []any) int {
	r.asked = append(r.asked, n)
	came := min(n, r.waiting)
	if came > 0 {
		r.given = join(came)
	}
	return came
}

type chair struct {
	export.Seat
	place, of int
}

func chairs(n int) []export.Seat {
	seats := make([]export.Seat, n)
	for i := range seats {
		seats[i] = &chair{place: i, of: n}
	}
	return seats
}

func TestWaitingRequestsAreBroughtTogether(t *testing.T) {
	t.Parallel()
	r, core := &room{waiting: 1000}, &answer{invites: true}
	h := handlers.Requested{Exporter: core, Announcer: core, Groups: handlers.NewGroups(chairs, 100)}
	handle := func(change func(context.Context) context.Context) error {
		msg := delivered("backup.requested.acme", `{"project_id":"acme"}`)
		msg.SetContext(change(msg.Context()))
		return h.Handle(msg)
	}
	first := func(ctx context.Context) context.Context { return delivery.WithGatherer(ctx, r.gather) }
	for range 5 {
		if err := handle(first); err != nil {
			t.Fatal(err)
		}
	}
	if want := []int{4, 16, 64, 99, 99}; !slices.Equal(r.asked, want) {
		t.Errorf("asked %v, want %v", r.asked, want)
	}
	if own, ok := core.company.Seat.(*chair); !ok || own.place != 0 || own.of != 100 || len(r.given) != 99 {
		t.Errorf("own seat %+v, %d were given one", core.company.Seat, len(r.given))
	}
	// The invited one gets its seat, and what it must be like; it invites nobody.
	core.invites = false
	core.err = &export.TurnError{Wait: time.Minute}
	err := handle(func(ctx context.Context) context.Context { return delivery.WithJoined(ctx, r.given[7]) })
	snooze, ok := errors.AsType[*delivery.SnoozeError](err)
	if c := core.company; c.Seat.(*chair).place != 8 || c.Like.Role != "r" || c.Invite != nil || !ok || snooze.After != time.Minute {
		t.Errorf("company %+v: %v", c, err)
	}
	// It did not fit: fewer are asked.
	core.invites, core.err, r.waiting = true, nil, 0
	if err := handle(first); err != nil {
		t.Fatal(err)
	}
	if asked := r.asked[len(r.asked)-1]; asked != 49 || core.company.Seat != nil {
		t.Errorf("asked %d, seat %v; want 49 and none, nobody waits", asked, core.company.Seat)
	}
}
