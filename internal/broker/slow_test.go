package broker_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A broker that answers the look-up of a stream's identity only after longer than AckWait
// must not spend a delivery on it.
func TestASlowLookUpCostsNoDelivery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const prefix = "SLOW.API."
	var swallow atomic.Int32
	_, err := b.nc.Subscribe(prefix+">", func(m *nats.Msg) {
		call := strings.TrimPrefix(m.Subject, prefix)
		if strings.HasPrefix(call, "STREAM.INFO.") && swallow.Add(-1) >= 0 {
			return
		}
		out := nats.NewMsg("$JS.API." + call)
		out.Reply, out.Data = m.Reply, m.Data
		if err := b.nc.PublishMsg(out); err != nil {
			t.Error(err)
		}
	})
	must(t, err)
	must(t, b.nc.Flush()) // it is there before another connection asks
	js, err := jetstream.NewWithAPIPrefix(connect(t, shared.ClientURL()), strings.TrimSuffix(prefix, "."))
	must(t, err)
	_, ch := b.subscribe(b.config(js))
	eventually(t, "the slot pulls", func() bool { return b.info().NumWaiting == 1 })
	swallow.Store(6) // each is a third of AckWait
	b.publish(1)
	msg := receive(t, ch)
	if d := deliveryOf(t, msg); d.Number != 1 {
		t.Errorf("delivery %d, want the first", d.Number)
	}
	if left := swallow.Load(); left >= 0 {
		t.Errorf("%d look-ups were left to swallow: the test shows nothing", left+1)
	}
	msg.Ack()
	eventually(t, "the message is gone", func() bool { return b.stored() == 0 })
}
