package consumer

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Invite asks for company: up to n more waiting messages of other keys, of each key one,
// that are handled beside msg in its slot, which is free again when all have ended. They are
// those whose turn it is next; nothing is waited for. When it is known how many come, seats is called
// with their number, and each is offered with one of the values it returns (see Invited),
// soon after Invite has returned.
// A message that is deferred there is not invited again, but has its turn like any other.
//
// Invite returns how many there are, 0 without a call of seats. It is for a handler, before
// it returns; for a message that is not a Subscriber's it returns 0.
func Invite(msg *message.Message, n int, seats func(n int) []any) int {
	o := offerOf(msg)
	if o == nil || o.invited != nil {
		return 0
	}
	return o.held.sub.invite(msg.Context(), o.held, n, seats)
}

// Invited returns what the invitation gave to a message that is another's company.
func Invited(msg *message.Message) (seat any, ok bool) {
	o := offerOf(msg)
	if o == nil || o.invited == nil {
		return nil, false
	}
	return o.invited, true
}

func (s *subscription) invite(ctx context.Context, host *held, n int, seats func(int) []any) int {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return 0
	}
	s.inviting.Add(1) // the channel is not closed meanwhile
	s.mu.Unlock()
	defer s.inviting.Done()
	guests := s.takeGuests(host, n)
	// What is looked at in vain is parked here, and kept from others: not more than that.
	for looks := 4 * n; len(guests) < n && looks > 0 && ctx.Err() == nil; {
		want := min(n-len(guests), maxAhead, s.room())
		if want == 0 {
			break
		}
		b, _ := s.state()
		looking, cancel := context.WithTimeout(ctx, min(lookAheadLimit, b.ackWait/4))
		pulled, err := s.pull(looking, b, want, 0)
		cancel()
		if err := s.park(ctx, pulled, err); err != nil {
			s.trouble(ctx, err)
			break
		}
		more := s.takeGuests(host, n-len(guests))
		guests = append(guests, more...)
		if looks -= len(pulled); len(pulled) < want || len(more) == 0 {
			break
		}
	}
	if len(guests) == 0 {
		return 0
	}
	given := seats(len(guests))
	s.inviting.Go(func() {
		for i, h := range guests {
			o := s.begin(h)
			o.invited = given[i]
			s.offer(context.WithoutCancel(ctx), o)
		}
	})
	return len(guests)
}

// takeGuests starts up to n parked messages in the slot of host.
func (s *subscription) takeGuests(host *held, n int) (guests []*held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for now := time.Now(); len(guests) < n; {
		h := s.turns.best(now, func(h *held) bool { return !h.unfit })
		if h == nil {
			break
		}
		s.start(h, host)
		guests = append(guests, h)
	}
	return guests
}
