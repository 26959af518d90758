package consumer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// sideBySide bounds the heartbeats, revivals and naks of parked messages that are under way
// at once. Thousands may be parked; those that run are not among them and wait for nothing.
const sideBySide = 32

// heartbeat is what is known of a delivery's life on the broker.
type heartbeat struct {
	tried atomic.Int64 // when a sign of life was sent last, in Unix nanoseconds

	mu     sync.Mutex // orders heartbeats and revivals before the one nak
	over   bool
	lastOK time.Time // sending time of the last confirmed heartbeat
	lost   bool      // was without one for longer than AckWait, once
}

// beat keeps the delivery of a message that runs alive. Each heartbeat is a request: a
// published one would be thought sent on a dead link. It goes on after the delivery was
// lost: if no other worker has the message yet, the heartbeat keeps it here. A worker that has it
// stands by for the ledger's lease, with heartbeats of its own.
func (h *held) beat(ctx context.Context) {
	every := h.ackWait / 3
	// It may have been parked, and its last heartbeat be a while ago.
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
	if h.overdue() { // a cluster's leader may change for long, with no reconnect
		h.revive(ctx)
		return
	}
	h.confirm(ctx, []byte("+WPI"), h.ackWait/3)
}

// overdue says that the broker may have the message on its list of redeliveries.
func (h *held) overdue() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.lastOK) > h.ackWait
}

// revive is a heartbeat that also takes the message off the broker's list of those to be
// redelivered. Once it is on that list (after an outage longer than AckWait, or as soon as
// a restarted broker has read its state) "+WPI" does not help any more, while a nak with a
// delay takes it off, sets its timer and counts nothing.
func (h *held) revive(ctx context.Context) {
	h.confirm(ctx, nakBody(h.ackWait), settleRequest)
}

// confirm sends a sign of life and notes whether the broker answered it.
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

// keepParked keeps alive what is parked, until ctx ends: one timer for all. It looks twice
// as often as a heartbeat is due, so that one that was parked just now is not late.
func (s *subscription) keepParked(ctx context.Context) {
	for {
		b, _ := s.state()
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
		each(late, func(h *held) { h.keep(ctx) })
	}
}

// revive keeps everything held alive at once: what runs side by side, then what is parked.
func (s *subscription) revive(ctx context.Context) {
	running, parked := s.heldNow()
	var all sync.WaitGroup
	for _, h := range running {
		all.Go(func() { h.revive(ctx) })
	}
	each(parked, func(h *held) { h.revive(ctx) })
	all.Wait()
}

// each calls do for all, sideBySide of them at once, and waits.
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
