package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
)

// Queue is what the sweeper asks of the broker's queue of requests.
type Queue interface {
	// Dead returns the requests with messages that are still stored and will not be
	// delivered again.
	Dead(ctx context.Context) ([]QueuedRequest, error)
	// Holds reports whether the message with that sequence is still in the queue. A
	// queue of another identity (its store was wiped since) holds nothing.
	Holds(ctx context.Context, queue string, sequence uint64) (bool, error)
	// Oldest returns when the oldest message that may still lead to a request was published;
	// zero: there is none.
	Oldest(ctx context.Context) (time.Time, error)
	// Remove deletes a dead message once its outcome is announced.
	Remove(ctx context.Context, d delivery.Delivery) error
}

// QueuedRequest is a request with a message in the queue.
type QueuedRequest struct {
	Request  Request
	Delivery delivery.Delivery
}

// Announcer publishes outcomes. Announcing one twice is the same as once: the broker
// refuses the second. It also notes in the ledger that the outcome is published.
type Announcer interface {
	Announce(ctx context.Context, out Outcome) error
}

// SweeperConfig is what a Sweeper works with. All but the times and Log are required, and
// Cleaner only with Keep.
type SweeperConfig struct {
	Reaper    Reaper
	Collector Collector
	Queue     Queue
	Announcer Announcer
	Store     Store
	// Rescue takes on a request that the queue will not deliver again and that can still be
	// run. It must not block: what it does not take now is offered again by the next sweep.
	Rescue  func(ctx context.Context, r QueuedRequest)
	Cleaner Cleaner
	// EndSessions ends what the attempts of a request that no worker will end have left on their
	// source. nil: that is left to the source.
	EndSessions func(ctx context.Context, id ID, attempts int) error
	// Removals are carried out by each sweep. nil: none.
	Removals Removals
	// Keep is how long the ledger keeps requests that are over. It must not be below the
	// time for which the broker keeps outcomes: while there is one, the record says the same.
	// 0: for ever.
	Keep time.Duration
	// Every is the pause between two sweeps, jittered by half. Default 30 s.
	Every time.Duration
	// Grace is how long after its lease a request is left to another worker, which may still
	// take it. It should be longer than ACK_WAIT. Default 1 min.
	Grace time.Duration
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Sweeper ends what no worker will end: requests that used up their deliveries, outcomes
// that were never announced, objects that lost attempts left behind. Any number may run at
// once, beside any number of workers: each step is fenced in the ledger.
type Sweeper struct {
	SweeperConfig
	hints chan struct{}
}

// NewSweeper returns a Sweeper over c with its defaults filled in.
func NewSweeper(c SweeperConfig) *Sweeper {
	if c.Every == 0 {
		c.Every = 30 * time.Second
	}
	if c.Grace == 0 {
		c.Grace = time.Minute
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Sweeper{SweeperConfig: c, hints: make(chan struct{}, 1)}
}

// Hint asks for a sweep soon, for instance because the broker said that a message used up
// its deliveries. It never blocks.
func (s *Sweeper) Hint() {
	select {
	case s.hints <- struct{}{}:
	default:
	}
}

// Run sweeps until ctx ends. What a sweep cannot do now the next one does.
func (s *Sweeper) Run(ctx context.Context) {
	remind := Reminder{After: 1}
	for {
		switch err := s.Sweep(ctx); {
		case ctx.Err() != nil:
		case err == nil:
			remind.End()
		default:
			if lasted, due := remind.Due(); due {
				s.Log.WarnContext(ctx, "sweep incomplete", "for", lasted.Round(time.Second), "error", err)
			}
		}
		pause := time.NewTimer(s.Every/2 + rand.N(s.Every)) //nolint:gosec // jitter, not a secret
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-s.hints:
			pause.Stop()
		case <-pause.C:
		}
	}
}

const (
	// batch bounds what one query of a sweep returns.
	batch = 500
	// forgets is how many batches one sweep forgets at most: 10,000 requests, which is more
	// in an hour than a night of 100,000 needs.
	forgets = 20
	// skew is how far the broker's and the ledger's clocks may be apart when a message is
	// held against a record. Records are kept much longer.
	skew = 24 * time.Hour
)

// Sweep makes one round and reports all that it could not do.
func (s *Sweeper) Sweep(ctx context.Context) error {
	ending, cancel := context.WithTimeout(ctx, endFor)
	defer cancel()
	return errors.Join(s.announce(ctx), s.failDead(ctx, ending), s.reap(ctx, ending), s.collect(ctx), s.remove(ctx), s.forget(ctx))
}

// endFor is how long one sweep ends sessions: a source that does not answer must not hold up the rest.
const endFor = 30 * time.Second

// announceFor is how long one sweep waits for the broker to take an outcome.
const announceFor = 10 * time.Second

func (s *Sweeper) announceOne(ctx context.Context, out Outcome) error {
	ctx, cancel := context.WithTimeout(ctx, announceFor)
	defer cancel()
	return s.Announcer.Announce(ctx, out)
}

// announce publishes outcomes that a worker committed and could not announce.
func (s *Sweeper) announce(ctx context.Context) error {
	outs, err := s.Reaper.Unpublished(ctx, s.Grace, batch)
	if err != nil {
		return fmt.Errorf("list unpublished outcomes: %w", err)
	}
	var faults []error
	for _, out := range outs {
		err := s.announceOne(ctx, out)
		faults = append(faults, err)
		if errors.Is(err, ErrUnavailable) {
			break // the broker takes none now, and the rest of the sweep must not wait for it
		}
	}
	return errors.Join(faults...)
}

// failDead ends the requests with messages that will never be delivered again, and removes these
// messages: in a work queue a dead message would stay for ever and count against its
// project. What only waited for its turn until then is given to Rescue.
func (s *Sweeper) failDead(ctx, ending context.Context) error {
	dead, err := s.Queue.Dead(ctx)
	if err != nil {
		return fmt.Errorf("list dead messages: %w", err)
	}
	var faults []error
	for _, d := range dead {
		out, err := s.Reaper.FailUnclaimed(ctx, d.Request, d.Delivery, s.Grace)
		for before, r := 0, d.Request; errors.Is(err, ErrConflict); before++ {
			r = conflict(r, d.Delivery, before)
			out, err = s.Reaper.FailUnclaimed(ctx, r, d.Delivery, s.Grace)
		}
		switch {
		case errors.Is(err, ErrNotLost): // its last delivery may still be at work
			continue
		case errors.Is(err, ErrNotBegun):
			s.Rescue(ctx, d)
			continue
		case err == nil:
			s.endSessions(ending, out)
			if err = s.announceOne(ctx, out); err == nil {
				err = s.Queue.Remove(ctx, d.Delivery)
			}
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("fail dead request %s: %w", d.Request.ID, err))
		}
	}
	return errors.Join(faults...)
}

// reap ends requests that the ledger knows, that no worker holds, and that have no message in
// the queue: a broker that lost its store will never deliver them again.
func (s *Sweeper) reap(ctx, ending context.Context) error {
	stranded, err := s.Reaper.Stranded(ctx, s.Grace, batch)
	if err != nil {
		return fmt.Errorf("list stranded requests: %w", err)
	}
	var faults []error
	for _, r := range stranded {
		if err := s.reapOne(ctx, ending, r); err != nil {
			faults = append(faults, fmt.Errorf("reap %s: %w", r.ID, err))
		}
	}
	return errors.Join(faults...)
}

func (s *Sweeper) reapOne(ctx, ending context.Context, r Stranded) error {
	if !r.Cancelled {
		held, err := s.Queue.Holds(ctx, r.Stream, r.Sequence)
		if err != nil || held {
			return err
		}
	}
	out, err := s.Reaper.FailStranded(ctx, r, s.Grace)
	if errors.Is(err, ErrNotLost) {
		return nil
	}
	if err != nil {
		return err
	}
	s.endSessions(ending, out)
	return s.announceOne(ctx, out)
}

// endSessions ends the sessions of a request that was lost or cancelled. What cannot be ended now
// ends by itself, later.
func (s *Sweeper) endSessions(ctx context.Context, out Outcome) {
	if s.EndSessions == nil || out.Attempt == 0 || out.Code != codes.WorkerLost && out.Code != codes.Cancelled {
		return
	}
	if err := s.EndSessions(ctx, out.ID, out.Attempt); err != nil {
		s.Log.WarnContext(ctx, "sessions of a lost attempt left to the server", "project_id", out.Project, "request_id", out.Request, "error", err)
	}
}

// collect deletes the objects of attempts that lost or failed. Each is looked for more
// than once, because a paused loser may write late.
func (s *Sweeper) collect(ctx context.Context) error {
	left, err := s.Collector.Collectable(ctx, batch)
	if err != nil {
		return fmt.Errorf("list leftovers: %w", err)
	}
	var faults []error
	var gone []Leftover
	for _, l := range left {
		if err := s.Store.Delete(ctx, l.Object); err != nil {
			faults = append(faults, fmt.Errorf("collect %s: %w", l.Object, err))
			continue
		}
		gone = append(gone, l)
	}
	if len(gone) > 0 {
		if err := s.Collector.Collected(ctx, gone); err != nil {
			faults = append(faults, fmt.Errorf("note what was collected: %w", err))
		}
	}
	return errors.Join(faults...)
}

// remove deletes the exports that were ordered to be deleted. One that a destination cannot delete
// is tried again by the next sweep.
func (s *Sweeper) remove(ctx context.Context) error {
	if s.Removals == nil {
		return nil
	}
	ordered, err := s.Removals.Removals(ctx, batch)
	if err != nil {
		return fmt.Errorf("list what is to be removed: %w", err)
	}
	var faults []error
	for _, r := range ordered {
		if err := s.Store.Delete(ctx, r.Object); err != nil {
			faults = append(faults, fmt.Errorf("remove %s: %w", r.ID, err), s.Removals.RemovalFailed(ctx, r.ID, err.Error()))
			continue
		}
		faults = append(faults, s.Removals.RemovalDone(ctx, r.ID))
		s.Log.InfoContext(ctx, "export removed as ordered", "project_id", r.Project, "request_id", r.Request)
	}
	return errors.Join(faults...)
}

// forget drops the records of requests that were over long ago. What was over only after a
// message in the queue was published stays: that message may be the request's own, and would
// run it again. And not before this process's clock says so too, so that a clock which jumps
// ahead removes nothing.
func (s *Sweeper) forget(ctx context.Context) error {
	if s.Keep == 0 {
		return nil
	}
	before := time.Now().Add(-s.Keep)
	oldest, err := s.Queue.Oldest(ctx)
	if err != nil {
		return fmt.Errorf("look for the oldest message: %w", err)
	}
	if limit := oldest.Add(-skew); !oldest.IsZero() && limit.Before(before) {
		before = limit
	}
	total := 0
	for range forgets {
		n, err := s.Cleaner.Forget(ctx, s.Keep, before, batch)
		if err != nil {
			return fmt.Errorf("forget old requests: %w", err)
		}
		if total += n; n < batch {
			break
		}
	}
	if total > 0 {
		s.Log.InfoContext(ctx, "old requests forgotten", "requests", total, "kept_for", s.Keep)
	}
	return nil
}
