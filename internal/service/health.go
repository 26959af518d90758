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
	// healthEvery is how often the process looks at itself.
	healthEvery = 5 * time.Second
	// outcomeGrace is how long the broker may not take an outcome before that is a problem: a
	// restart of the broker is none.
	outcomeGrace = 5 * time.Second
	// problemGrace is how long a problem is not worth a line in the log.
	problemGrace = 10 * time.Second
)

// Health is what a process knows of its ability to bring requests to their end. It is ready
// while every request could end. It is safe for concurrent use.
type Health struct {
	log    *slog.Logger
	checks []func(context.Context) error

	mu       sync.Mutex
	draining bool
	outcomes map[export.ID]waiting
	last     error // of the last look
}

// waiting is an outcome that the broker does not take.
type waiting struct {
	since time.Time
	why   error
}

// NewHealth makes a Health. Each check says in words fit for any caller why no request can end.
func NewHealth(log *slog.Logger, checks ...func(context.Context) error) *Health {
	return &Health{log: log, checks: checks, outcomes: map[export.ID]waiting{}}
}

// watch also asks the ledger whether it can be written to. nil: there is none.
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

// Outcome notes why the broker does not take an outcome; nil: it is no longer tried.
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

// OutcomesWaiting is how many outcomes the broker does not take.
func (h *Health) OutcomesWaiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.outcomes)
}

// Drain notes that the process was told to stop.
func (h *Health) Drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
}

// Ready returns why the process may not take work now, in words fit for any caller.
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
			return fmt.Errorf("the broker takes no outcomes, %d wait", len(h.outcomes))
		}
	}
	return nil
}

// Sound reports whether the last look found no problem, for a page of metrics. A drain is none.
func (h *Health) Sound() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last == nil
}

// Run looks until ctx ends, and logs a problem that lasts at growing intervals.
func (h *Health) Run(ctx context.Context) error {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	remind := export.Reminder{After: problemGrace}
	for {
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

// refused returns why the broker does not take outcomes, in its own words, for the log.
func (h *Health) refused() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.outcomes {
		return w.why
	}
	return nil
}
