package consumer_test

import (
	"slices"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/internal/broker/brokertest"
	"github.com/pgcourier/pgcourier/internal/broker/consumer"
)

// seated is Invite with numbers for seats.
func seated(msg *message.Message, n int) int {
	return consumer.Invite(msg, n, func(n int) []any {
		all := make([]any, n)
		for i := range all {
			all[i] = i
		}
		return all
	})
}

func TestCompanyRunsBesideInOneSlot(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Flood("a", "a", "b", "b", "c", "d", "e")
	s, ch := b.subscribe(b.byProject(1, 100))
	host := receive(t, ch)
	if _, invited := consumer.Invited(host); invited {
		t.Error("the host was invited")
	}
	if n := seated(host, 3); n != 3 {
		t.Fatalf("%d came, want 3", n)
	}
	var guests []*message.Message
	var came []string
	for i := range 3 {
		g := receive(t, ch)
		if seat, ok := consumer.Invited(g); !ok || seat != i {
			t.Errorf("guest %d has seat %v %t", i, seat, ok)
		}
		if n := seated(g, 5); n != 0 {
			t.Errorf("a guest invited %d", n)
		}
		guests, came = append(guests, g), append(came, project(t, g))
	}
	if !slices.Equal(came, []string{"b", "c", "d"}) {
		t.Errorf("%v came, want one of each other project, in turn", came)
	}
	// One does not fit; the slot is free when the last has ended.
	consumer.Defer(guests[1], 1)
	guests[1].Ack()
	host.Ack()
	guests[0].Ack()
	brokertest.Eventually(t, "two are settled", func() bool { return b.Stored() == 5 })
	b.Acks.Await(brokertest.Heartbeat, brokertest.HeartbeatsOf(2))
	select {
	case early := <-ch:
		t.Fatalf("%+v was started while a guest runs", deliveryOf(t, early))
	default:
	}
	guests[2].Ack()
	// Who did not fit is not asked again, and has its turn; each for the first time.
	for left := 4; left > 0; {
		together := []*message.Message{receive(t, ch)}
		for range seated(together[0], 9) {
			g := receive(t, ch)
			if project(t, g) == "c" {
				t.Error("c was asked again")
			}
			together = append(together, g)
		}
		for _, msg := range together {
			if d := deliveryOf(t, msg); d.Number != 1 {
				t.Errorf("%+v came again", d)
			}
			msg.Ack()
		}
		left -= len(together)
	}
	must(t, s.Close())
	if n := b.Stored(); n != 0 {
		t.Errorf("%d messages left", n)
	}
	if n := seated(message.NewMessage("x", nil), 1); n != 0 {
		t.Error("a foreign message has company")
	}
}

// An invitation at the end of the subscription brings nobody who could not be handled.
func TestCompanyAtTheEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Flood("a", "b", "c")
	c := b.byProject(1, 100)
	c.DrainTimeout = brokertest.Timeout
	s, ch := b.subscribe(c)
	host := receive(t, ch)
	closed := make(chan struct{})
	go func() { defer close(closed); _ = s.Close() }()
	if _, open := <-ch; open {
		t.Fatal("something was handed out after the end")
	}
	if n := seated(host, 3); n != 0 {
		t.Errorf("%d came after the end", n)
	}
	host.Ack()
	brokertest.Ended(t, closed, "subscriber")
	if n := b.Stored(); n != 2 {
		t.Errorf("%d messages left, want 2", n)
	}
}
