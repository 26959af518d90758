package consumer_test

import (
	"context"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// The watchdog must not end a process that waits for its broker or its database.
func TestTheLoopTurnsWhileNothingCanBePulled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := brokertest.NewProxy(t, shared.ClientURL())
	c := b.over(brokertest.JetStream(t, brokertest.Connect(t, p.URL())))
	c.Slots, c.Window = 1, 8
	c.Ready = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	turns := make(chan time.Duration, 1024)
	c.Turned = func(name string, next time.Duration) {
		if name != b.Bind.Consumer {
			t.Errorf("the loop of %q turns", name)
		}
		select {
		case turns <- next:
		default:
		}
	}
	s, _ := b.subscribe(c)
	p.Cut()
	for range 5 {
		if next := receive(t, turns); next != ackWait {
			t.Errorf("the next turn comes within %s, want %s", next, ackWait)
		}
	}
	must(t, s.Close())
	for receive(t, turns) != 0 { // the last call
	}
}
