package consumer_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

func project(t testing.TB, msg *message.Message) string {
	t.Helper()
	d := deliveryOf(t, msg)
	return d.Subject[strings.LastIndex(d.Subject, ".")+1:]
}

// A thousand requests of one project delay another's single request by one at most.
func TestAFloodDelaysAnotherByOneAtMost(t *testing.T) {
	t.Parallel()
	b := patient(t)
	b.AllowPending(5000)
	b.Flood(slices.Repeat([]string{"a"}, 1000)...)
	_, ch := b.subscribe(b.byProject(1, 2000))
	running := receive(t, ch)
	b.Flood("b")
	running.Ack()
	second := receive(t, ch)
	if p := project(t, second); p != "b" {
		t.Fatalf("after the running one %s started, want b", p)
	}
	second.Ack()
	// A message that was passed over waits at no cost, and the next single one is as quick.
	third := receive(t, ch)
	if d := deliveryOf(t, third); project(t, third) != "a" || d.Sequence != 2 || d.Number != 1 {
		t.Errorf("then %+v, want the flood's second", d)
	}
	b.Flood("c")
	third.Ack()
	fourth := receive(t, ch)
	if p := project(t, fourth); p != "c" {
		t.Errorf("with all of the flood parked %s started, want c", p)
	}
	fourth.Ack()
}

func TestProjectsTakeTurns(t *testing.T) {
	t.Parallel()
	b := patient(t)
	b.Flood(strings.Split("aaaaabbc", "")...)
	_, ch := b.subscribe(b.byProject(1, 100))
	var order []string
	for range 8 {
		msg := receive(t, ch)
		order = append(order, project(t, msg))
		msg.Ack()
	}
	if got := strings.Join(order, ""); got != "abcabaaa" {
		t.Errorf("started in the order %s, want abcabaaa", got)
	}
}

// One message of a project runs at a time; the other slots are for other projects. A waiting
// message is kept alive over many ack waits and delivered once.
func TestWaitingForOnesTurnCostsNoDelivery(t *testing.T) {
	t.Parallel()
	punctual(t, func(t testing.TB, ackWait time.Duration) {
		b := setup(t)
		b.SetAckWait(ackWait)
		const flood = 60
		b.Flood(slices.Repeat([]string{"a"}, flood)...)
		s, ch := b.subscribe(b.byProject(3, 100))
		running := receive(t, ch)
		brokertest.Eventually(t, "the others are held", func() bool { return b.Info().NumAckPending == flood })
		b.Acks.Await(brokertest.Heartbeat, flood*brokertest.HeartbeatsOf(3))
		b.Flood("b", "c")
		others := []*message.Message{receive(t, ch), receive(t, ch)}
		if got := project(t, others[0]) + project(t, others[1]); got != "bc" {
			t.Errorf("beside the running one %s started, want bc", got)
		}
		for _, msg := range others {
			msg.Ack()
		}
		running.Ack()
		for want := uint64(2); want <= flood; want++ {
			msg := receive(t, ch)
			if d := deliveryOf(t, msg); d.Sequence != want || d.Number != 1 {
				t.Fatalf("message %d came as delivery %d, want message %d for the first time", d.Sequence, d.Number, want)
			}
			select {
			case beside := <-ch:
				t.Fatalf("beside a running message of the project %v was started", deliveryOf(t, beside))
			default:
			}
			msg.Ack()
		}
		must(t, s.Close())
		if i := b.Info(); i.Delivered.Consumer != flood+2 || b.Stored() != 0 {
			t.Errorf("%d deliveries of %d messages, %d left", i.Delivered.Consumer, flood+2, b.Stored())
		}
	})
}

func TestNoMoreIsHeldThanTheWindow(t *testing.T) {
	t.Parallel()
	b := patient(t)
	const flood, window = 30, 7
	b.Flood(slices.Repeat([]string{"a"}, flood)...)
	_, ch := b.subscribe(b.byProject(2, window))
	for left := flood; left > 0; left-- {
		msg := receive(t, ch)
		want := min(window, left)
		brokertest.Eventually(t, fmt.Sprintf("%d are held", want), func() bool { return b.Info().NumAckPending == want })
		msg.Ack()
		brokertest.Eventually(t, "it is settled", func() bool { return b.Stored() == uint64(left-1) })
	}
	if n := b.Info().Delivered.Consumer; n != flood {
		t.Errorf("%d deliveries of %d messages", n, flood)
	}
}

// A worker holds nothing that an idle worker could run: without a flood it pulls only what it runs.
func TestNoMoreIsHeldThanRuns(t *testing.T) {
	t.Parallel()
	b := patient(t)
	b.Flood("a", "b", "c", "d")
	_, first := b.subscribe(b.byProject(2, 100))
	held := []*message.Message{receive(t, first), receive(t, first)}
	_, second := b.subscribe(b.byProject(2, 100))
	held = append(held, receive(t, second), receive(t, second))
	for i, want := range []string{"a", "b", "c", "d"} {
		if p := project(t, held[i]); p != want {
			t.Errorf("message %d is of %s, want %s", i, p, want)
		}
		held[i].Ack()
	}
}

// A snoozed message is offered again unchanged, and until then no message with its key.
func TestSnoozeKeepsTheDelivery(t *testing.T) {
	t.Parallel()
	punctual(t, func(t testing.TB, ackWait time.Duration) {
		b := setup(t)
		b.SetAckWait(ackWait)
		b.Flood("a", "a", "b")
		_, ch := b.subscribe(b.byProject(1, 100))
		first := receive(t, ch)
		decide(first, delivery.Snooze(2*ackWait))
		brokertest.Ended(t, first.Context().Done(), "the snoozed message's context")
		other := receive(t, ch)
		if p := project(t, other); p != "b" {
			t.Errorf("while it waits %s started, want b", p)
		}
		other.Ack()
		again := receive(t, ch)
		was, is := deliveryOf(t, first), deliveryOf(t, again)
		if was != is || first == again {
			t.Errorf("offered again as %+v, was %+v", is, was)
		}
		decide(again, errors.New("a fault"))
		third := receive(t, ch)
		if d := deliveryOf(t, third); d.Sequence != 2 || d.Number != 1 {
			t.Errorf("then %+v, want the project's second", d)
		}
		third.Ack()
		last := receive(t, ch)
		if d := deliveryOf(t, last); d.Sequence != 1 || d.Number != 2 {
			t.Errorf("at last %+v, want the first again", d)
		}
		last.Ack()
		brokertest.Eventually(t, "all are settled", func() bool { return b.Stored() == 0 })
		foreign := message.NewMessage("x", nil)
		decide(foreign, delivery.Snooze(1))
		select {
		case <-foreign.Nacked():
		default:
			t.Error("a foreign message was snoozed")
		}
	})
}

// After an outage of the broker that is longer than AckWait no parked message is redelivered.
func TestARestartRedeliversNothingThatIsParked(t *testing.T) {
	t.Parallel()
	punctual(t, func(t testing.TB, ackWait time.Duration) {
		dir := t.TempDir()
		srv := brokertest.Start(t, dir, brokertest.RandomPort)
		port := brokertest.PortOf(t, srv.ClientURL())
		b := setupOn(t, srv.ClientURL())
		b.SetAckWait(ackWait)
		// So many that a loaded machine revives all of them within one ack wait of a fresh broker.
		const flood = 12
		b.Flood(slices.Repeat([]string{"a"}, flood)...)
		s, ch := b.subscribe(b.byProject(2, 100))
		msg := receive(t, ch)
		brokertest.Eventually(t, "the others are held", func() bool { return b.Info().NumAckPending == flood })

		srv.Shutdown()
		outage := time.NewTimer(2 * ackWait) // the fault itself is a length of time
		defer outage.Stop()
		<-outage.C
		brokertest.Start(t, dir, port)

		b.Acks.Await(brokertest.Heartbeat, flood*brokertest.HeartbeatsOf(2))
		for range flood - 1 {
			msg.Ack()
			msg = receive(t, ch)
			if d := deliveryOf(t, msg); d.Number != 1 {
				t.Errorf("message %d came as delivery %d", d.Sequence, d.Number)
			}
		}
		msg.Ack()
		must(t, s.Close())
		if n, left := b.Info().Delivered.Consumer, b.Stored(); n != flood || left != 0 {
			t.Errorf("%d deliveries, %d messages left; want %d and 0", n, left, flood)
		}
	})
}

// Messages that are parked when the subscription ends are nakked at once, in order.
func TestParkedMessagesGoBackAtTheEnd(t *testing.T) {
	t.Parallel()
	b := patient(t)
	const flood = 50
	b.Flood(slices.Repeat([]string{"a"}, flood)...)
	c := b.byProject(2, 100)
	c.DrainTimeout = brokertest.Timeout
	s, ch := b.subscribe(c)
	running := receive(t, ch)
	brokertest.Eventually(t, "the others are held", func() bool { return b.Info().NumAckPending == flood })
	closed := make(chan struct{})
	go func() { defer close(closed); _ = s.Close() }()
	brokertest.Eventually(t, "the parked are given back", func() bool { return b.Acks.Count("-NAK") == flood-1 })
	_, other := b.subscribe(b.byProject(1, 100))
	msg := receive(t, other)
	if d := deliveryOf(t, msg); d.Number != 2 {
		t.Errorf("delivery %d, want 2", d.Number)
	}
	msg.Ack()
	// The running message was not disturbed; snoozed now, it is nakked too.
	decide(running, delivery.Snooze(1))
	brokertest.Ended(t, closed, "subscriber")
	brokertest.Eventually(t, "it is given back too", func() bool { return b.Acks.Count("-NAK") == flood })
}
