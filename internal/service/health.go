package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

const (
	// healthEvery is the pause between two checks.
	healthEvery = 5 * time.Second
	// outcomeGrace is how long the broker may refuse an outcome before this is a problem. It must
	// cover a restart of the broker.
	outcomeGrace = 5 * time.Second
	// problemGrace is how long a problem must last before it is logged.
	problemGrace = 10 * time.Second
)

// Health checks whether this process can end requests: it is ready if the ledger accepts writes and
// the broker accepts outcomes. It is safe for concurrent use.
type Health struct {
	log    *slog.Logger
	checks []func(context.Context) error
	turn   func(name string, next time.Duration) // see loops

	mu       sync.Mutex
	draining bool
	outcomes map[export.ID]waiting
	last     error // result of the last check
}

// waiting is an outcome that the broker does not accept.
type waiting struct {
	since time.Time
	why   error
}

// NewHealth returns a Health. Each check returns why no request can end, in words that may be shown
// to any caller. turn is called at each turn of Run, with the time until the next and 0 at the end.
func NewHealth(log *slog.Logger, turn func(name string, next time.Duration), checks ...func(context.Context) error) *Health {
	return &Health{log: log, turn: turn, checks: checks, outcomes: map[export.ID]waiting{}}
}

// watch adds a check that the ledger accepts writes. A nil ledger adds none.
func (h *Health) watch(l *ledger.Ledger) {
	if l == nil { // a notifier alone needs none
		return
	}
	h.checks = append(h.checks, func(ctx context.Context) error {
		if l.Ping(ctx) != nil {
			return errors.New("the control plane is unreachable")
		}
		return nil
	})
}

// Outcome records why the broker does not accept an outcome. With nil it removes the record.
func (h *Health) Outcome(id export.ID, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if why == nil {
		delete(h.outcomes, id)
		return
	}
	w, known := h.outcomes[id]
	if !known {
		w.since = time.Now()
	}
	w.why = why
	h.outcomes[id] = w
}

// OutcomesWaiting returns how many outcomes the broker does not accept.
func (h *Health) OutcomesWaiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.outcomes)
}

// Drain makes Ready fail from now on: the process is stopping.
func (h *Health) Drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
}

// Ready returns why the process takes no requests now. The text may be shown to any caller.
func (h *Health) Ready(ctx context.Context) error {
	h.mu.Lock()
	draining := h.draining
	h.mu.Unlock()
	if draining {
		return errors.New("draining")
	}
	return h.problem(ctx)
}

// problem returns why no request can end.
func (h *Health) problem(ctx context.Context) error {
	for _, check := range h.checks {
		if err := check(ctx); err != nil {
			return err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.outcomes {
		if time.Since(w.since) >= outcomeGrace {
			return fmt.Errorf("the broker accepts no outcomes, %d wait", len(h.outcomes))
		}
	}
	return nil
}

// lastProblem returns the problem that the last check found.
func (h *Health) lastProblem() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// Sound reports whether the last check found no problem. A drain is not a problem.
func (h *Health) Sound() bool {
	return h.lastProblem() == nil
}

// Run checks until ctx ends. It logs a lasting problem at growing intervals.
func (h *Health) Run(ctx context.Context) error {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	remind := export.Reminder{After: problemGrace}
	defer h.turn("health", 0)
	for {
		h.turn("health", healthEvery+readyTimeout)
		look, cancel := context.WithTimeout(ctx, readyTimeout)
		err := h.problem(look)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		h.mu.Lock()
		h.last = err
		h.mu.Unlock()
		if err == nil {
			if lasted, told := remind.End(); told {
				h.log.InfoContext(ctx, "ready again", "after", lasted.Round(time.Second))
			}
		} else if lasted, due := remind.Due(); due {
			h.log.WarnContext(ctx, "not ready: no request can end", "for", lasted.Round(time.Second), "reason", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// refused returns the broker's error for refused outcomes, for the log.
func (h *Health) refused() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.outcomes {
		return w.why
	}
	return nil
}
