package consumer

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// maxAhead bounds one step of a look ahead. The steps grow, because one message is usually enough.
	maxAhead = 64
	// lookAheadLimit bounds one look at the queue. The broker does not answer while too many messages
	// are pending.
	lookAheadLimit = time.Second
	// maxParkedBytes bounds the memory of the parked messages. It has room for a full queue of one
	// project at its defaults: 100 requests of 64 KiB.
	maxParkedBytes = 8 << 20
)

// dispatch starts messages until pulling ends.
func (s *subscription) dispatch(pulling, settling context.Context) {
	failures := 0
	for s.awaitSlot(pulling) {
		h, err := s.choose(pulling)
		if h != nil {
			failures = 0
			s.logRecovered(pulling)
			if !s.offer(settling, s.begin(h, nil)) {
				return
			}
			continue
		}
		if err == nil {
			failures = 0
			s.logRecovered(pulling)
			continue
		}
		s.logFailure(pulling, err)
		pause(pulling, failures)
		failures++
	}
}

// awaitSlot waits until a slot is free. It returns false if pulling ended.
func (s *subscription) awaitSlot(pulling context.Context) bool {
	for s.slotsTaken() >= s.cfg.Slots {
		select {
		case <-s.freed:
		case <-pulling.Done():
			return false
		}
	}
	return pulling.Err() == nil
}

// offer sends a message to the subscriber's channel. If pulling ends first, it gives the message
// back to the broker at once, which uses up a delivery but loses no time.
func (s *subscription) offer(settling context.Context, o *offer) bool {
	// If both cases are ready, select picks either one. Nothing may be offered after the end.
	select {
	case <-s.stopping:
	default:
		select {
		case s.out <- o.msg:
			s.attend(o)
			return true
		case <-s.stopping:
		}
	}
	o.giveBack(settling)
	return false
}

// choose returns the message to start now, in its slot. Nil without an error means: look again.
//
// A parked message starts at once if no message can come before it. Otherwise a message with an
// earlier turn may wait in the queue behind the parked ones. choose then looks ahead until it finds
// one, nothing more waits, or the window is full. So a worker holds no message that another worker
// could run, unless it must hold the message to look past it.
func (s *subscription) choose(ctx context.Context) (*held, error) {
	if err := s.cfg.Ready(ctx); err != nil {
		return nil, fmt.Errorf("wait until ready: %w", err)
	}
	if err := s.refresh(ctx); err != nil {
		return nil, err
	}
	select {
	case <-s.woken:
	default:
	}
	if h := s.take(true); h != nil {
		return h, nil
	}
	if s.someParked() {
		h, err := s.lookAhead(ctx)
		if h == nil {
			h = s.take(false)
		}
		if h != nil || err != nil {
			return h, err
		}
	}
	return nil, s.wait(ctx)
}

// take starts the next parked message by turn, if there is one. With certain it does so only if no
// message in the queue can come before it.
func (s *subscription) take(certain bool) *held {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, sure := s.turns.next(time.Now())
	if h == nil || certain && !sure {
		return nil
	}
	s.start(h, h)
	return h
}

// start runs h in the slot that owner took, which is h or another message. The caller holds the
// lock.
func (s *subscription) start(h, owner *held) {
	s.turns.start(h)
	s.busy[h] = struct{}{}
	h.slot = owner
	s.slots[owner]++
}

// lookAhead pulls waiting messages until it can start one with certainty, and starts it.
func (s *subscription) lookAhead(ctx context.Context) (*held, error) {
	for step := 1; ; step = min(2*step, maxAhead) {
		n := min(step, s.room())
		if n == 0 {
			return nil, nil //nolint:nilnil // the window is full
		}
		b, _ := s.state()
		looking, cancel := s.looking(ctx, b)
		pulled, err := s.pull(looking, b, n, 0)
		cancel()
		err = s.park(ctx, pulled, err)
		if h := s.take(true); h != nil || err != nil {
			return h, err
		}
		if len(pulled) < n {
			return nil, nil //nolint:nilnil // nothing more waits
		}
	}
}

// looking returns a context for one look at the queue. A look takes a part of AckWait at most.
func (s *subscription) looking(ctx context.Context, b bound) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, cmp.Or(s.cfg.look, min(lookAheadLimit, b.ackWait/4)))
}

// wait pulls one message and parks it. It returns early when a parked message may start.
func (s *subscription) wait(ctx context.Context) error {
	b, link := s.state()
	expires := min(maxPull, b.ackWait/2)
	waiting, cancel := context.WithTimeout(ctx, expires+pullGrace)
	defer cancel()
	s.mu.Lock()
	wake := s.turns.wakeAt()
	s.mu.Unlock()
	var deferral <-chan time.Time
	if !wake.IsZero() {
		t := time.NewTimer(time.Until(wake))
		defer t.Stop()
		deferral = t.C
	}
	if s.room() == 0 {
		select {
		case <-deferral:
		case <-s.woken:
		case <-waiting.Done():
		}
		return nil
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		defer cancel()
		select {
		case <-deferral:
		case <-s.woken:
		case <-link:
		case <-waiting.Done():
		}
	})
	pulled, err := s.pull(waiting, b, 1, expires)
	cancel()
	return s.park(ctx, pulled, err)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *subscription) slotsTaken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.slots)
}

func (s *subscription) started() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.busy)
}
