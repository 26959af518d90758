package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Queue is what the sweeper asks of the broker's queue of requests.
type Queue interface {
	// Dead returns the requests whose messages are still stored and will not be
	// delivered again.
	Dead(ctx context.Context) ([]DeadRequest, error)
	// Holds reports whether the message with that sequence is still in the queue. A
	// queue of another identity (its store was wiped since) holds nothing.
	Holds(ctx context.Context, queue string, sequence uint64) (bool, error)
	// Remove deletes a dead message once its outcome is announced.
	Remove(ctx context.Context, d Delivery) error
}

// DeadRequest is a request that used up its deliveries.
type DeadRequest struct {
	Request  Request
	Delivery Delivery
}

// Announcer publishes outcomes. Announcing one twice is the same as once: the broker
// refuses the second. It also notes in the ledger that the outcome is published.
type Announcer interface {
	Announce(ctx context.Context, out Outcome) error
}

// Adopter takes on a request that the queue will not deliver again and that can still be
// run. It must not block: what it does not take now is offered again by the next sweep.
type Adopter interface {
	Adopt(ctx context.Context, d DeadRequest)
}

// SweeperConfig is what a Sweeper works with. All but the times and Log are required.
type SweeperConfig struct {
	Reaping    Reaping
	Collecting Collecting
	Queue      Queue
	Announcer  Announcer
	Store      Store
	Adopter    Adopter
	// Every is the pause between two sweeps, jittered by half. Default 30 s.
	Every time.Duration
	// Grace is how long after its lease a request is left to whoever may still come for
	// it. It should be longer than ACK_WAIT. Default 1 min.
	Grace time.Duration
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Sweeper ends what no worker will end: requests whose deliveries are used up, outcomes
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
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "sweep incomplete", "error", err)
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

// batch bounds what one query of a sweep returns.
const batch = 500

// Sweep makes one round and reports all that it could not do.
func (s *Sweeper) Sweep(ctx context.Context) error {
	return errors.Join(s.announce(ctx), s.bury(ctx), s.reap(ctx), s.collect(ctx))
}

// announce publishes outcomes that a worker committed and could not announce.
func (s *Sweeper) announce(ctx context.Context) error {
	outs, err := s.Reaping.Unpublished(ctx, s.Grace, batch)
	if err != nil {
		return fmt.Errorf("list unpublished outcomes: %w", err)
	}
	var faults []error
	for _, out := range outs {
		faults = append(faults, s.Announcer.Announce(ctx, out))
	}
	return errors.Join(faults...)
}

// bury ends the requests whose messages will never be delivered again, and removes those
// messages: in a work queue a dead message would stay for ever and count against its
// project. What only waited for its turn until then is given to the Adopter.
func (s *Sweeper) bury(ctx context.Context) error {
	dead, err := s.Queue.Dead(ctx)
	if err != nil {
		return fmt.Errorf("list dead messages: %w", err)
	}
	var faults []error
	for _, d := range dead {
		out, err := s.Reaping.FailUnclaimed(ctx, d.Request, d.Delivery, s.Grace)
		for before, r := 0, d.Request; errors.Is(err, ErrConflict); before++ {
			r = conflict(r, d.Delivery, before)
			out, err = s.Reaping.FailUnclaimed(ctx, r, d.Delivery, s.Grace)
		}
		switch {
		case errors.Is(err, ErrNotLost): // its last delivery may still be at work
			continue
		case errors.Is(err, ErrNotBegun):
			s.Adopter.Adopt(ctx, d)
			continue
		case err == nil:
			if err = s.Announcer.Announce(ctx, out); err == nil {
				err = s.Queue.Remove(ctx, d.Delivery)
			}
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("bury %s: %w", d.Request.ID, err))
		}
	}
	return errors.Join(faults...)
}

// reap ends requests that the ledger knows, that nobody holds, and whose message is gone
// from the queue: a broker that lost its store will never deliver them again.
func (s *Sweeper) reap(ctx context.Context) error {
	stranded, err := s.Reaping.Stranded(ctx, s.Grace, batch)
	if err != nil {
		return fmt.Errorf("list stranded requests: %w", err)
	}
	var faults []error
	for _, r := range stranded {
		if err := s.reapOne(ctx, r); err != nil {
			faults = append(faults, fmt.Errorf("reap %s: %w", r.ID, err))
		}
	}
	return errors.Join(faults...)
}

func (s *Sweeper) reapOne(ctx context.Context, r Stranded) error {
	if !r.Cancelled {
		held, err := s.Queue.Holds(ctx, r.Queue, r.Sequence)
		if err != nil || held {
			return err
		}
	}
	out, err := s.Reaping.FailStranded(ctx, r, s.Grace)
	if errors.Is(err, ErrNotLost) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.Announcer.Announce(ctx, out)
}

// collect deletes the objects of attempts that lost or failed. Each is looked for more
// than once, because a paused loser may write late.
func (s *Sweeper) collect(ctx context.Context) error {
	left, err := s.Collecting.Collectable(ctx, batch)
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
		if err := s.Collecting.Collected(ctx, gone); err != nil {
			faults = append(faults, fmt.Errorf("note what was collected: %w", err))
		}
	}
	return errors.Join(faults...)
}
