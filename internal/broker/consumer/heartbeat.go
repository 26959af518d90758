package consumer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// sideBySide bounds the concurrent heartbeats, revivals and naks of parked messages. Thousands may
// be parked. Running messages are not counted and do not wait.
const sideBySide = 32

// heartbeat is the state of a delivery on the broker.
type heartbeat struct {
	tried atomic.Int64 // when the last heartbeat was sent, in Unix nanoseconds

	mu     sync.Mutex // orders heartbeats and revivals before the one nak
	over   bool
	lastOK time.Time // sending time of the last confirmed heartbeat
	lost   bool      // no heartbeat was confirmed for longer than AckWait, at least once
}

// beat sends the heartbeats of a running message. Each heartbeat is a request, because a published
// heartbeat would seem sent on a dead connection. beat continues after the delivery was lost: if no
// other worker has the message yet, the heartbeat keeps it here. A worker that has it waits for the
// ledger's lease and sends its own heartbeats.
func (h *held) beat(ctx context.Context) {
	every := h.ackWait / 3
	// The message may have been parked, and its last heartbeat may be old.
	t := time.NewTimer(every - time.Since(time.Unix(0, h.tried.Load())))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			t.Reset(every)
			h.keep(ctx)
		}
	}
}

// keep sends one heartbeat.
func (h *held) keep(ctx context.Context) {
	if h.overdue() { // a change of the cluster's leader can take long, without a reconnect
		h.revive(ctx)
		return
	}
	h.confirm(ctx, []byte("+WPI"), h.ackWait/3)
}

// overdue reports whether the broker may have the message on its list of redeliveries.
func (h *held) overdue() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.lastOK) > h.ackWait
}

// revive sends a heartbeat that also removes the message from the broker's list of redeliveries. A
// message is on that list after an outage longer than AckWait, or as soon as a restarted broker has
// read its state. "+WPI" then has no effect, while a nak with a delay removes the message from the
// list, sets its timer and counts no delivery.
func (h *held) revive(ctx context.Context) {
	h.confirm(ctx, nakBody(h.ackWait), settleRequest)
}

// confirm sends a heartbeat and records whether the broker answered.
func (h *held) confirm(ctx context.Context, body []byte, timeout time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over || !h.sameStream() {
		return
	}
	sent := time.Now()
	h.tried.Store(sent.UnixNano())
	err := h.request(ctx, body, timeout)
	if ctx.Err() != nil {
		return
	}
	wasLost := h.lost
	h.lost = h.lost || time.Since(h.lastOK) > h.ackWait
	if h.lost && !wasLost {
		h.log.WarnContext(ctx, "no heartbeat was confirmed within the ack wait, another worker may get the message")
	}
	if err == nil {
		h.lastOK = sent
	}
}

// keepParked sends the heartbeats of all parked messages with one timer until ctx ends. It checks
// twice as often as a heartbeat is due, so that the first heartbeat of a newly parked message is
// not late.
func (s *subscription) keepParked(ctx context.Context) {
	defer s.cfg.Turned(s.binding.Consumer, 0)
	for {
		b, _ := s.state()
		s.cfg.Turned(s.binding.Consumer, b.ackWait) // half of that, and the time of one heartbeat
		every := b.ackWait / 3
		t := time.NewTimer(every / 2)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		due := time.Now().Add(-every * 3 / 4).UnixNano()
		var late []*held
		for _, h := range s.parkedNow() {
			if h.tried.Load() <= due {
				late = append(late, h)
			}
		}
		each(late, func(h *held) {
			h.keep(ctx)
			s.cfg.Turned(s.binding.Consumer, b.ackWait)
		})
	}
}

// revive revives all held messages: first the running ones at once, then the parked ones.
func (s *subscription) revive(ctx context.Context) {
	running, parked := s.heldNow()
	var all sync.WaitGroup
	for _, h := range running {
		all.Go(func() { h.revive(ctx) })
	}
	each(parked, func(h *held) { h.revive(ctx) })
	all.Wait()
}

// each calls do for all elements, at most sideBySide at once, and waits.
func each[T any](all []T, do func(T)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(sideBySide, len(all)) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(all)); i = next.Add(1) - 1 {
				do(all[i])
			}
		})
	}
	workers.Wait()
}
