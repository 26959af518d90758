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
	var swallow atomic.Int32
	js := slow(t, shared.ClientURL(), "STREAM.INFO.", &swallow)
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

// slow is a JetStream of which so many calls that begin so are never answered.
func slow(t *testing.T, url, call string, swallow *atomic.Int32) jetstream.JetStream {
	t.Helper()
	const prefix = "SLOW.API."
	nc := connect(t, url)
	_, err := nc.Subscribe(prefix+">", func(m *nats.Msg) {
		name := strings.TrimPrefix(m.Subject, prefix)
		if strings.HasPrefix(name, call) && swallow.Add(-1) >= 0 {
			return
		}
		out := nats.NewMsg("$JS.API." + name)
		out.Reply, out.Data = m.Reply, m.Data
		if err := nc.PublishMsg(out); err != nil {
			t.Error(err)
		}
	})
	must(t, err)
	must(t, nc.Flush()) // it is there before another connection asks
	js, err := jetstream.NewWithAPIPrefix(connect(t, url), strings.TrimSuffix(prefix, "."))
	must(t, err)
	return js
}
