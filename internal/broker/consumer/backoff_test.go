package consumer_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/broker/consumer"
	"github.com/pgcourier/pgcourier/internal/delivery"
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

// A handler sets the delay before the next delivery of its own message, or leaves it to the
// backoff.
func TestAHandlerDelaysItsMessage(t *testing.T) {
	t.Parallel()
	b := patient(t)
	c := b.config()
	c.Backoff = func(n int) time.Duration { return time.Duration(n) * time.Microsecond }
	b.Publish(1)
	s, ch := b.subscribe(c)
	decide(receive(t, ch), delivery.Retry(time.Millisecond))
	second := receive(t, ch)
	if d := deliveryOf(t, second); d.Number != 2 {
		t.Errorf("delivery %d", d.Number)
	}
	decide(second, delivery.Retry(0))
	receive(t, ch).Ack()
	must(t, s.Close())
	b.Acks.Total()
	if got := b.Acks.Bodies("-NAK"); !slices.Equal(got, []string{`-NAK {"delay": 1000000}`, `-NAK {"delay": 2000}`}) {
		t.Errorf("sent %q", got)
	}
}
