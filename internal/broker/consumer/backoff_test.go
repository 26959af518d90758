package consumer_test

import (
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/internal/broker/consumer"
)

func TestExponential(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		random float64
		want   []time.Duration
	}{
		{0, []time.Duration{5, 10, 20, 40, 50, 50}},
		{0.5, []time.Duration{7, 15, 30, 60, 75, 75}},
	} {
		pause := consumer.Exponential(10, 100, func() float64 { return c.random })
		for i, want := range c.want {
			if got := pause(i + 1); got != want {
				t.Errorf("random %v, delivery %d: %d, want %d", c.random, i+1, got, want)
			}
		}
	}
	if got := consumer.Exponential(time.Second, time.Minute, nil)(1 << 40); got < 30*time.Second || got > time.Minute {
		t.Errorf("a late delivery waits %v", got)
	}
}

// A handler sets the pause before the next delivery of its own message.
func TestAHandlerDelaysItsMessage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.config()
	c.Backoff = func(int) time.Duration { return time.Hour }
	b.Publish(1)
	_, ch := b.subscribe(c)
	m := receive(t, ch)
	if !consumer.Delay(m, time.Millisecond) || consumer.Delay(message.NewMessage("1", nil), time.Second) {
		t.Error("a message of the subscriber is delayed, another is not")
	}
	m.Nack()
	m = receive(t, ch) // long before an hour is over
	if d, _ := consumer.DeliveryOf(m); d.Number != 2 {
		t.Errorf("delivery %d", d.Number)
	}
	m.Ack()
}
