package operation

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// Reaper ends restores that no restorer will end. It implements export.Reaper for an
// export.Sweeper: where an attempt may have changed the target, it asks the target first.
type Reaper struct {
	Ledger  Ledger
	Targets Targets
	Engine  Engine
	// UnknownAfter is how long a target is asked that does not answer, before the outcome is
	// codes.RestoreUnknown. It counts from the first question. Default 1 hour.
	UnknownAfter time.Duration
	// Gap is the longest pause between two questions that counts. After a longer one, for instance
	// because no restorer ran, the time starts again. Default: half of UnknownAfter.
	Gap time.Duration
}

var _ export.Reaper = (*Reaper)(nil)

const defaultUnknownAfter = time.Hour

// Unpublished implements export.Reaper.
func (r *Reaper) Unpublished(ctx context.Context, olderThan time.Duration, limit int) ([]export.Outcome, error) {
	return r.Ledger.Unpublished(ctx, olderThan, limit)
}

// Stranded implements export.Reaper.
func (r *Reaper) Stranded(ctx context.Context, grace time.Duration, limit int) ([]export.Stranded, error) {
	return r.Ledger.Stranded(ctx, grace, limit)
}

// FailStranded implements export.Reaper. The outcome is completed if the target has committed the
// restore.
func (r *Reaper) FailStranded(ctx context.Context, s export.Stranded, grace time.Duration) (export.Outcome, error) {
	out, err := r.Ledger.FailStranded(ctx, s, grace)
	if errors.Is(err, ErrUnsettled) {
		return r.settle(ctx, s.ID, grace)
	}
	return out, err
}

// FailUnclaimed implements export.Reaper. The outcome is completed if the target has committed the
// restore.
func (r *Reaper) FailUnclaimed(ctx context.Context, q export.Request, d delivery.Delivery, grace time.Duration) (export.Outcome, error) {
	out, err := r.Ledger.FailUnclaimed(ctx, q, d, grace)
	if errors.Is(err, ErrUnsettled) {
		return r.settle(ctx, q.ID, grace)
	}
	return out, err
}

// settle asks the target to refuse a restore, and records what it answers.
func (r *Reaper) settle(ctx context.Context, id export.ID, grace time.Duration) (export.Outcome, error) {
	s, err := r.Ledger.Standing(ctx, id)
	if err != nil {
		return export.Outcome{}, err
	}
	if s.Age < grace {
		return export.Outcome{}, fmt.Errorf("settle %s: %w", id, export.ErrNotLost)
	}
	how, err := r.ask(ctx, id, s)
	switch {
	case err != nil && (errors.Is(err, export.ErrLedgerUnavailable) || ctx.Err() != nil):
		return export.Outcome{}, fmt.Errorf("settle %s: %w", id, err)
	case err != nil:
		limit := cmp.Or(r.UnknownAfter, defaultUnknownAfter)
		unanswered, noteErr := r.Ledger.Unanswered(ctx, id, cmp.Or(r.Gap, limit/2))
		if noteErr != nil {
			return export.Outcome{}, noteErr
		}
		if unanswered < limit {
			return export.Outcome{}, fmt.Errorf("settle %s: %w", id, err)
		}
		how = Settlement{Fault: unknown("the target could not be asked")}
	case s.Unanswered:
		if err := r.Ledger.Answered(ctx, id); err != nil {
			return export.Outcome{}, err
		}
	}
	return r.Ledger.End(ctx, export.Stranded{ID: id, Attempt: s.Attempt}, grace, how)
}

func (r *Reaper) ask(ctx context.Context, id export.ID, s Standing) (Settlement, error) {
	j := Job{ID: id, Marker: s.Marker}
	if err := json.Unmarshal(s.Payload, &j.Order); err != nil {
		return Settlement{}, fmt.Errorf("read the recorded request: %w", err)
	}
	var err error
	if j.Target, err = r.Targets.Lookup(ctx, id.Project); err != nil {
		return Settlement{}, err
	}
	identity, err := r.Engine.Identity(j.Target)
	if err != nil {
		return Settlement{}, err
	}
	if !bytes.Equal(identity, s.Target) {
		return Settlement{}, moved()
	}
	done, err := r.Engine.Refuse(ctx, j)
	if err != nil || done == nil {
		return Settlement{}, err
	}
	done.From, done.Mode = s.From, j.Order.Mode
	b, err := json.Marshal(done)
	return Settlement{Restored: b}, err
}
