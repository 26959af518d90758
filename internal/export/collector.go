package export

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// collect deletes the objects of lost or failed attempts, unless an announced outcome names the attempt.
// It deletes each more than once, because a paused loser may write late.
func (s *Sweeper) collect(ctx context.Context) error {
	if s.Collector == nil {
		return nil
	}
	left, err := s.Collector.Collectable(ctx, batch)
	if err != nil {
		return fmt.Errorf("list leftovers: %w", err)
	}
	var faults []error
	var gone []Leftover
	for _, l := range left {
		if l.Look == 0 { // it was never deleted before
			completed, err := s.Announced.Look(ctx, l.ID)
			if err != nil {
				faults = append(faults, err)
				if errors.Is(err, ErrUnavailable) {
					break
				}
				continue
			}
			if completed != nil && completed.Attempt == l.Attempt {
				continue
			}
		}
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

// remove deletes the exports with an order to delete. The next sweep retries one that a destination
// cannot delete.
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

// forget deletes the records of requests that were over long ago. It keeps a record that ended
// after a message in the queue was published: that message may be the request's own and would run
// it again. It also requires that this process's clock agrees, so that a clock that jumps ahead
// deletes nothing.
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
