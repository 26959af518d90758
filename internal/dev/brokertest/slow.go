package brokertest

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Slow returns a JetStream that never answers the first calls that begin with call, as many as
// swallow says.
func Slow(t testing.TB, url, call string, swallow *atomic.Int32) jetstream.JetStream {
	t.Helper()
	const prefix = "SLOW.API."
	nc := Connect(t, url)
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
	Must(t, err)
	Must(t, nc.Flush()) // the subscription exists before another connection asks
	js, err := jetstream.NewWithAPIPrefix(Connect(t, url), strings.TrimSuffix(prefix, "."))
	Must(t, err)
	return js
}
