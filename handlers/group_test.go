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

type member struct {
	export.Member
	key      export.GroupKey
	place, n int
}

func members(k export.GroupKey, n int) []export.Member {
	out := make([]export.Member, n)
	for i := range out {
		out[i] = &member{key: k, place: i, n: n}
	}
	return out
}

func TestWaitingRequestsAreGathered(t *testing.T) {
	t.Parallel()
	r, core := &room{waiting: 1000}, &answer{gathers: true}
	h := handlers.Requested{Exporter: core, Announcer: core, Groups: handlers.NewGroups(members, 100)}
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
	if own, ok := core.group.Member.(*member); !ok || own.place != 0 || own.n != 100 || own.key.Role != "r" || len(r.given) != 99 {
		t.Errorf("own membership %+v, %d were given one", core.group.Member, len(r.given))
	}
	// A gathered message gets its membership and the key, and gathers no others.
	core.gathers = false
	core.err = &export.TurnError{Wait: time.Minute}
	err := handle(func(ctx context.Context) context.Context { return delivery.WithJoined(ctx, r.given[7]) })
	snooze, ok := errors.AsType[*delivery.SnoozeError](err)
	if g := core.group; g.Member.(*member).place != 8 || g.Key.Role != "r" || g.Gather != nil || !ok || snooze.After != time.Minute {
		t.Errorf("group %+v: %v", g, err)
	}
	// After it left, fewer messages are requested.
	core.gathers, core.err, r.waiting = true, nil, 0
	if err := handle(first); err != nil {
		t.Fatal(err)
	}
	if asked := r.asked[len(r.asked)-1]; asked != 49 || core.group.Member != nil {
		t.Errorf("asked for %d, membership %v; want 49 and none, since none waits", asked, core.group.Member)
	}
}
