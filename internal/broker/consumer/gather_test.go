package consumer_test

import (
	"slices"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/internal/broker/consumer"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// gather is delivery.Gather with numbers for the members.
func gather(msg *message.Message, n int) int {
	return delivery.Gather(msg.Context(), n, func(n int) []any {
		all := make([]any, n)
		for i := range all {
			all[i] = i
		}
		return all
	})
}

func TestMembersOfAGroupRunInOneSlot(t *testing.T) {
	t.Parallel()
	b := patient(t)
	b.Flood("a", "a", "b", "b", "c", "d", "e")
	s, ch := b.subscribe(b.byProject(1, 100))
	first := receive(t, ch)
	if v := delivery.Joined(first.Context()); v != nil {
		t.Errorf("the first one joined %v", v)
	}
	if n := gather(first, 3); n != 3 {
		t.Fatalf("%d were received, want 3", n)
	}
	var members []*message.Message
	var came []string
	for i := range 3 {
		g := receive(t, ch)
		if v := delivery.Joined(g.Context()); v != i {
			t.Errorf("member %d joined %v", i, v)
		}
		if n := gather(g, 5); n != 0 {
			t.Errorf("a member gathered %d", n)
		}
		members, came = append(members, g), append(came, project(t, g))
	}
	if !slices.Equal(came, []string{"b", "c", "d"}) {
		t.Errorf("%v were received, want one of each other project, in turn", came)
	}
	// One member leaves; the slot is free when the last has ended.
	decide(members[1], delivery.Snooze(1))
	first.Ack()
	members[0].Ack()
	brokertest.Eventually(t, "only one member is left in the slot", func() bool {
		select {
		case early := <-ch:
			t.Fatalf("%+v was started while a member runs", deliveryOf(t, early))
		default:
		}
		return consumer.Running(s) == 1
	})
	if n := b.Stored(); n != 5 {
		t.Errorf("%d messages are stored, want 5: two are settled", n)
	}
	members[2].Ack()
	// The message that left is not gathered again, and has its turn; each is delivered for the
	// first time.
	for left := 4; left > 0; {
		together := []*message.Message{receive(t, ch)}
		for range gather(together[0], 9) {
			g := receive(t, ch)
			if project(t, g) == "c" {
				t.Error("c was gathered again")
			}
			together = append(together, g)
		}
		for _, msg := range together {
			if d := deliveryOf(t, msg); d.Number != 1 {
				t.Errorf("%+v was delivered again", d)
			}
			msg.Ack()
		}
		left -= len(together)
	}
	must(t, s.Close())
	if n := b.Stored(); n != 0 {
		t.Errorf("%d messages left", n)
	}
	if n := gather(message.NewMessage("x", nil), 1); n != 0 {
		t.Error("a foreign message gathered others")
	}
}

// At the end of the subscription no message is gathered that could not be handled.
func TestNothingIsGatheredAtTheEnd(t *testing.T) {
	t.Parallel()
	b := patient(t)
	b.Flood("a", "b", "c")
	c := b.byProject(1, 100)
	c.DrainTimeout = brokertest.Timeout
	s, ch := b.subscribe(c)
	first := receive(t, ch)
	closed := make(chan struct{})
	go func() { defer close(closed); _ = s.Close() }()
	if _, open := <-ch; open {
		t.Fatal("something was handed out after the end")
	}
	if n := gather(first, 3); n != 0 {
		t.Errorf("%d were gathered after the end", n)
	}
	first.Ack()
	brokertest.Ended(t, closed, "subscriber")
	if n := b.Stored(); n != 2 {
		t.Errorf("%d messages left, want 2", n)
	}
}
