package broker_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// observer records what is sent on a subject.
type observer struct {
	t    testing.TB
	nc   *nats.Conn
	mu   sync.Mutex
	seen []nats.Msg
	more chan struct{}
}

func observe(t testing.TB, nc *nats.Conn, subject string) *observer {
	t.Helper()
	o := &observer{t: t, nc: nc, more: make(chan struct{}, 1)}
	_, err := nc.Subscribe(subject, func(m *nats.Msg) {
		o.mu.Lock()
		o.seen = append(o.seen, *m)
		o.mu.Unlock()
		select {
		case o.more <- struct{}{}:
		default:
		}
	})
	must(t, err)
	must(t, nc.Flush())
	return o
}

// count returns how many messages so far begin with one of the words.
func (o *observer) count(words ...string) int {
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

// total is count after everything under way has arrived.
func (o *observer) total(words ...string) int {
	o.t.Helper()
	must(o.t, o.nc.Flush())
	// The flush orders the arrival; this handler's own queue is ordered behind it.
	done := make(chan struct{})
	inbox := o.nc.NewInbox()
	sub, err := o.nc.Subscribe(inbox, func(*nats.Msg) { close(done) })
	must(o.t, err)
	defer func() { _ = sub.Unsubscribe() }()
	must(o.t, o.nc.Publish(inbox, nil))
	ended(o.t, done, "observer's marker")
	return o.count(words...)
}

// await waits for n more messages that begin with word.
func (o *observer) await(word string, n int) {
	o.t.Helper()
	want := o.count(word) + n
	deadline := time.After(patience)
	for o.count(word) < want {
		select {
		case <-o.more:
		case <-deadline:
			o.t.Fatalf("saw %d of %d %q", o.count(word), want, word)
		}
	}
}

func (o *observer) bodies(word string) []string {
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

const heartbeat = "+WPI"

// heartbeatsOf is how many heartbeats fill that many ack waits: one every third of it.
func heartbeatsOf(ackWaits int) int { return 3 * ackWaits }
