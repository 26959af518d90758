package brokertest

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Observer records what is sent on a subject.
type Observer struct {
	t    testing.TB
	nc   *nats.Conn
	mu   sync.Mutex
	seen []nats.Msg
	more chan struct{}
}

// Observe begins to record what is sent on a subject.
func Observe(t testing.TB, nc *nats.Conn, subject string) *Observer {
	t.Helper()
	o := &Observer{t: t, nc: nc, more: make(chan struct{}, 1)}
	_, err := nc.Subscribe(subject, func(m *nats.Msg) {
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

// Count returns how many messages so far begin with one of the words.
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

// Total is Count after everything under way has arrived.
func (o *Observer) Total(words ...string) int {
	o.t.Helper()
	Must(o.t, o.nc.Flush())
	// The flush orders the arrival; this handler's own queue is ordered behind it.
	done := make(chan struct{})
	inbox := o.nc.NewInbox()
	sub, err := o.nc.Subscribe(inbox, func(*nats.Msg) { close(done) })
	Must(o.t, err)
	defer func() { _ = sub.Unsubscribe() }()
	Must(o.t, o.nc.Publish(inbox, nil))
	Ended(o.t, done, "observer's marker")
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

// Heartbeat is the body of a sign of life.
const Heartbeat = "+WPI"

// HeartbeatsOf is how many heartbeats fill that many ack waits: one every third of it.
func HeartbeatsOf(ackWaits int) int { return 3 * ackWaits }
