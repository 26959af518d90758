package consumer_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// If the broker answers the look-up of a stream's identity only after longer than AckWait, the
// message loses no delivery.
func TestASlowLookUpCostsNoDelivery(t *testing.T) {
	t.Parallel()
	punctual(t, func(t testing.TB, ackWait time.Duration) {
		b := setup(t)
		b.SetAckWait(ackWait)
		var swallow atomic.Int32
		js := brokertest.Slow(t, shared.ClientURL(), "STREAM.INFO.", &swallow)
		_, ch := b.subscribe(b.over(js))
		brokertest.Eventually(t, "the slot pulls", func() bool { return b.Info().NumWaiting == 1 })
		swallow.Store(6) // each is a third of AckWait
		b.Publish(1)
		msg := receive(t, ch)
		if d := deliveryOf(t, msg); d.Number != 1 {
			t.Errorf("delivery %d, want the first", d.Number)
		}
		if left := swallow.Load(); left >= 0 {
			t.Errorf("%d look-ups were left to swallow: the test shows nothing", left+1)
		}
		msg.Ack()
		brokertest.Eventually(t, "the message is gone", func() bool { return b.Stored() == 0 })
	})
}
