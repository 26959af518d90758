package handlers_test

import (
	"slices"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/export"
)

// room is a queue in which some messages wait.
type room struct {
	waiting int
	asked   []int
	given   []any
	invited any // what the message at hand was given
}

func (r *room) Invite(_ *message.Message, n int, seats func(int) []any) {
	r.asked = append(r.asked, n)
	if came := min(n, r.waiting); came > 0 {
		r.given = seats(came)
	}
}

func (r *room) Invited(*message.Message) (any, bool) { return r.invited, r.invited != nil }

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
	r, core, d := &room{waiting: 1000}, &answer{invites: true}, delivered("backup.requested.acme")
	h := handlers.Requested{Exporter: core, Announcer: core, Deliveries: d, Groups: handlers.NewGroups(r, chairs, 100)}
	handle := func() {
		t.Helper()
		if err := h.Handle(message.NewMessage("u", []byte(`{"project_id":"acme"}`))); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		handle()
	}
	if want := []int{4, 16, 64, 99, 99}; !slices.Equal(r.asked, want) {
		t.Errorf("asked %v, want %v", r.asked, want)
	}
	if own, ok := core.company.Seat.(*chair); !ok || own.place != 0 || own.of != 100 || len(r.given) != 99 {
		t.Errorf("own seat %+v, %d were given one", core.company.Seat, len(r.given))
	}
	// The invited one gets its seat, and what it must be like; it invites nobody.
	core.invites, r.invited = false, r.given[7]
	core.err = &export.TurnError{Wait: time.Minute}
	handle()
	if c := core.company; c.Seat.(*chair).place != 8 || c.Like.Role != "r" || c.Invite != nil || d.deferred != time.Minute {
		t.Errorf("company %+v, deferred for %v", c, d.deferred)
	}
	// It did not fit: fewer are asked.
	core.invites, core.err, r.invited, r.waiting = true, nil, nil, 0
	handle()
	if asked := r.asked[len(r.asked)-1]; asked != 49 || core.company.Seat != nil {
		t.Errorf("asked %d, seat %v; want 49 and none, nobody waits", asked, core.company.Seat)
	}
}
