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

// Queue is the part of the broker's queue that the sweeper uses.
type Queue interface {
	// Dead returns the requests with stored messages that will not be delivered again.
	Dead(ctx context.Context) ([]QueuedRequest, error)
	// Holds reports whether the message with that sequence is still in the queue. A queue with another
	// identity (its store was wiped since) holds none.
	Holds(ctx context.Context, queue string, sequence uint64) (bool, error)
	// Oldest returns the publication of the oldest message that may still lead to a request; zero:
	// there is none.
	Oldest(ctx context.Context) (time.Time, error)
	// Remove deletes a dead message once its outcome is announced.
	Remove(ctx context.Context, d delivery.Delivery) error
}

// QueuedRequest is a request with a message in the queue.
type QueuedRequest struct {
	Request  Request
	Delivery delivery.Delivery
}

// Announcer publishes outcomes. Announcing one twice has no effect, because the broker refuses the
// second. The Announcer also records in the ledger that the outcome is published.
type Announcer interface {
	Announce(ctx context.Context, out Outcome) error
}

// SweeperConfig configures a Sweeper. All fields except the durations, Log, Collector and Store are
// required. Cleaner is required only with Keep, Store only with Collector.
type SweeperConfig struct {
	Reaper    Reaper
	Collector Collector
	Queue     Queue
	Announcer Announcer
	Store     Store
	// Rescue accepts a request that the queue will not deliver again and that can still run. It must
	// not block. The next sweep offers again what it does not accept now.
	Rescue  func(ctx context.Context, r QueuedRequest)
	Cleaner Cleaner
	// EndSessions ends the sessions on the source of the attempts of a request that no worker will
	// end. nil: the source ends them.
	EndSessions func(ctx context.Context, id ID, attempts int) error
	// Announced finds completed exports that the ledger has lost. nil: it loses none.
	Announced *Announced
	// Removals are carried out by each sweep. nil: none.
	Removals Removals
	// Keep is how long the ledger keeps requests that are over. It must be at least as long as the
	// broker keeps outcomes, so that record and outcome agree. 0: without a limit.
	Keep time.Duration
	// Every is the pause between two sweeps, with a jitter of half. Default 30 s.
	Every time.Duration
	// Grace is the time after the end of its lease during which another worker may still claim a
	// request. It should be longer than ACK_WAIT. Default 1 min.
	Grace time.Duration
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Sweeper ends the work that no worker will end: requests that used up their deliveries, outcomes
// that were never announced, objects of lost attempts. Any number may run at once, beside any
// number of workers: each step is fenced in the ledger.
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

// Hint requests a sweep soon, for instance because the broker reported that a message used up its
// deliveries. It never blocks.
func (s *Sweeper) Hint() {
	select {
	case s.hints <- struct{}{}:
	default:
	}
}

// Run sweeps until ctx ends. The next sweep repeats what one could not do.
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
	// batch bounds the result of one query of a sweep.
	batch = 500
	// forgets bounds the batches that one sweep forgets. At 10,000 requests a sweep, an hour is enough
	// for a night of 100,000.
	forgets = 20
	// skew bounds the difference between the broker's and the ledger's clocks when a message is
	// compared with a record. Records are kept much longer.
	skew = 24 * time.Hour
)

// Sweep makes one sweep and returns all its errors.
func (s *Sweeper) Sweep(ctx context.Context) error {
	ending, cancel := context.WithTimeout(ctx, endFor)
	defer cancel()
	return errors.Join(s.announce(ctx), s.failDead(ctx, ending), s.reap(ctx, ending), s.collect(ctx), s.remove(ctx), s.forget(ctx))
}

// endFor bounds the ending of sessions in one sweep: a source that does not answer must not delay
// the rest.
const endFor = 30 * time.Second

// announceFor bounds the wait of one sweep for the broker to accept an outcome.
const announceFor = 10 * time.Second

func (s *Sweeper) announceOne(ctx context.Context, out Outcome) error {
	ctx, cancel := context.WithTimeout(ctx, announceFor)
	defer cancel()
	return s.Announcer.Announce(ctx, out)
}

// announce publishes outcomes that a worker recorded and could not publish.
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
			break // the broker accepts none now, and the rest of the sweep must not wait
		}
	}
	return errors.Join(faults...)
}

// failDead ends the requests with messages that will never be delivered again, and removes these
// messages: a dead message stays in a work queue and counts against its project. A request that
// only waited for its turn is given to Rescue.
func (s *Sweeper) failDead(ctx, ending context.Context) error {
	dead, err := s.Queue.Dead(ctx)
	if err != nil {
		return fmt.Errorf("list dead messages: %w", err)
	}
	var faults []error
	for _, d := range dead {
		if _, err := s.Announced.Look(ctx, d.Request.ID); err != nil {
			faults = append(faults, err)
			if errors.Is(err, ErrUnavailable) {
				break
			}
			continue
		}
		out, err := s.Reaper.FailUnclaimed(ctx, d.Request, d.Delivery, s.Grace)
		for before, r := 0, d.Request; errors.Is(err, ErrConflict); before++ {
			r = Conflict(r, d.Delivery, before)
			out, err = s.Reaper.FailUnclaimed(ctx, r, d.Delivery, s.Grace)
		}
		switch {
		case errors.Is(err, ErrNotLost): // its last delivery may still run
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

// reap ends recorded requests that no worker holds and that have no message in the queue: a broker
// that lost its store will never deliver them again.
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
	if completed, err := s.Announced.Look(ctx, r.ID); err != nil || completed != nil {
		return err
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

// endSessions ends the sessions of a request that was lost or cancelled. A session that it cannot
// end ends later by itself.
func (s *Sweeper) endSessions(ctx context.Context, out Outcome) {
	if s.EndSessions == nil || out.Attempt == 0 || out.Code != codes.WorkerLost && out.Code != codes.Cancelled {
		return
	}
	if err := s.EndSessions(ctx, out.ID, out.Attempt); err != nil {
		s.Log.WarnContext(ctx, "sessions of a lost attempt left to the server", "project_id", out.Project, "request_id", out.Request, "error", err)
	}
}
