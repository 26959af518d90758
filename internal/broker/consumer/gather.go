package consumer

import (
	"context"
	"time"
)

// gather starts up to n more waiting messages of other keys in the slot of first. See
// delivery.Gather.
func (s *subscription) gather(ctx context.Context, first *held, n int, join func(int) []any) int {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return 0
	}
	s.gathering.Add(1) // keeps the channel open
	s.mu.Unlock()
	defer s.gathering.Done()
	members := s.takeMembers(first, n)
	// A pulled message that cannot start stays parked here, where other workers cannot get it. The
	// limit on looks bounds their number.
	for looks := 4 * n; len(members) < n && looks > 0 && ctx.Err() == nil; {
		want := min(n-len(members), maxAhead, s.room())
		if want == 0 {
			break
		}
		b, _ := s.state()
		looking, cancel := s.looking(ctx, b)
		pulled, err := s.pull(looking, b, want, 0)
		cancel()
		if err := s.park(ctx, pulled, err); err != nil {
			s.logFailure(ctx, err)
			break
		}
		more := s.takeMembers(first, n-len(members))
		members = append(members, more...)
		if looks -= len(pulled); len(pulled) < want || len(more) == 0 {
			break
		}
	}
	if len(members) == 0 {
		return 0
	}
	joined := join(len(members))
	s.gathering.Go(func() {
		for i, h := range members {
			s.offer(context.WithoutCancel(ctx), s.begin(h, joined[i]))
		}
	})
	return len(members)
}

// takeMembers starts up to n parked messages in the slot of first.
func (s *subscription) takeMembers(first *held, n int) (members []*held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for now := time.Now(); len(members) < n; {
		h := s.turns.best(now, func(h *held) bool { return !h.snoozed })
		if h == nil {
			break
		}
		s.start(h, first)
		members = append(members, h)
	}
	return members
}
