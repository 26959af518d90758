package consumer

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/internal/delivery"
)

// room returns how many more messages may be held.
func (s *subscription) room() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turns.bytes >= maxParkedBytes {
		return 0
	}
	return max(s.cfg.Window-len(s.busy)-len(s.turns.parked), 0)
}

// park holds pulled messages. The stream may have been made again since it was bound, which the
// connection does not show. A message without a known stream identity is left to AckWait: with a
// wrong event id it would be mistaken for another request.
func (s *subscription) park(ctx context.Context, pulled []*nats.Msg, err error) error {
	if err != nil {
		s.stale.Store(true)
	}
	if len(pulled) == 0 {
		return err
	}
	b, _ := s.state()
	if err := s.identifyBehind(ctx, pulled, b.ackWait); err != nil {
		return err
	}
	b, _ = s.state()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range pulled {
		d, bad := deliveryOf(m, b)
		if bad != nil {
			err = bad
			continue
		}
		h := s.newHeld(m, d, b)
		if earlier := s.parkedAs(d); earlier != nil { // that delivery was presumed lost
			h.tag = earlier.tag
			s.turns.unpark(earlier)
		} else {
			s.turns.tag(h)
		}
		s.turns.park(h)
	}
	return err
}

// parkedAs returns an earlier delivery of the same message that is still parked. The caller holds
// the lock.
func (s *subscription) parkedAs(d delivery.Delivery) *held {
	if d.Number == 1 {
		return nil
	}
	for p := range s.turns.parked {
		if p.delivery.EventID == d.EventID {
			return p
		}
	}
	return nil
}

// repark parks a started message again and defers its key for the pause. It returns false if
// nothing is started any more.
func (s *subscription) repark(h *held, pause time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	h.snoozed = h.snoozed || h.slot != h
	now := time.Now()
	s.turns.postpone(h.key, now.Add(pause), now)
	s.turns.park(h)
	s.leave(h)
	signal(s.woken) // there is one more deferral to wait for
	return true
}

// drop removes a started message.
func (s *subscription) drop(h *held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave(h)
}

// leave frees the key of h, and the slot if nothing else runs in it. The caller holds the lock.
func (s *subscription) leave(h *held) {
	delete(s.busy, h)
	s.turns.end(h)
	if s.slots[h.slot]--; s.slots[h.slot] == 0 {
		delete(s.slots, h.slot)
		signal(s.freed)
	}
	// A waiting pull is cancelled only if another message can start.
	if next, _ := s.turns.next(time.Now()); next != nil {
		signal(s.woken)
	}
}

// returnParked gives back the messages that were never started, after pulling has ended. Each uses
// up a delivery.
func (s *subscription) returnParked(ctx context.Context) {
	parked := s.parkedNow()
	if len(parked) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.SettleTimeout)
	defer cancel()
	if err := s.identify(ctx); err != nil {
		s.log.WarnContext(ctx, "messages not given back, they come back after the ack wait", "messages", len(parked), "error", err)
	} else {
		each(parked, func(h *held) { h.nak(ctx, 0) })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range parked {
		s.turns.unpark(h)
	}
}

func (s *subscription) someParked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.turns.parked) > 0
}

func (s *subscription) parkedNow() []*held {
	_, parked := s.heldNow()
	return parked
}

func (s *subscription) heldNow() (running, parked []*held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := range s.busy {
		running = append(running, h)
	}
	for h := range s.turns.parked {
		parked = append(parked, h)
	}
	return running, parked
}
