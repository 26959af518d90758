package brokertest

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Observer records the messages of a subject.
type Observer struct {
	t    testing.TB
	nc   *nats.Conn
	sub  *nats.Subscription
	mu   sync.Mutex
	seen []nats.Msg
	more chan struct{}
}

// Observe starts to record the messages of a subject.
func Observe(t testing.TB, nc *nats.Conn, subject string) *Observer {
	t.Helper()
	o := &Observer{t: t, nc: nc, more: make(chan struct{}, 1)}
	var err error
	o.sub, err = nc.Subscribe(subject, func(m *nats.Msg) {
		o.mu.Lock()
		o.seen = append(o.seen, *m)
		o.mu.Unlock()
		select {
		case o.more <- struct{}{}:
		default:
		}
	})
	Must(t, err)
	Must(t, nc.Flush())
	return o
}

// Count returns the number of messages so far that begin with one of the words.
func (o *Observer) Count(words ...string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for i := range o.seen {
		for _, w := range words {
			if strings.HasPrefix(string(o.seen[i].Data), w) {
				n++
			}
		}
	}
	return n
}

// Total is Count after all messages in transit have arrived.
func (o *Observer) Total(words ...string) int {
	o.t.Helper()
	// After the flush the messages are in the subscription's queue, which another goroutine empties. A
	// message leaves the queue once it is recorded.
	Must(o.t, o.nc.Flush())
	Eventually(o.t, "what was observed is recorded", func() bool {
		waiting, _, err := o.sub.Pending()
		Must(o.t, err)
		return waiting == 0
	})
	return o.Count(words...)
}

// Await waits for n more messages that begin with word.
func (o *Observer) Await(word string, n int) {
	o.t.Helper()
	want := o.Count(word) + n
	deadline := time.After(Timeout)
	for o.Count(word) < want {
		select {
		case <-o.more:
		case <-deadline:
			o.t.Fatalf("saw %d of %d %q", o.Count(word), want, word)
		}
	}
}

// Bodies returns the messages so far that begin with word.
func (o *Observer) Bodies(word string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []string
	for i := range o.seen {
		if strings.HasPrefix(string(o.seen[i].Data), word) {
			all = append(all, string(o.seen[i].Data))
		}
	}
	return all
}

// Heartbeat is the body of a heartbeat.
const Heartbeat = "+WPI"

// HeartbeatsOf returns the number of heartbeats in that many ack waits: one every third of an ack
// wait.
func HeartbeatsOf(ackWaits int) int { return 3 * ackWaits }
