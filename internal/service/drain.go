package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// leastDrain is what a process has at least to end after it was told to: what happened is
	// written down within export's 10 s, and messages are settled within 5 s.
	leastDrain = 20 * time.Second
	// drainReserve is what of a long DRAIN_TIMEOUT is kept for that.
	drainReserve = 20 * time.Second
)

// handlersDrain is how long handlers may go on, of DRAIN_TIMEOUT: the rest is for what follows.
func handlersDrain(limit time.Duration) time.Duration {
	return limit - min(limit/4, drainReserve)
}

// Serve runs the service and closes it. It returns within DRAIN_TIMEOUT of ctx's end, or 20 s
// where that is shorter, whatever does not end: the process is to end then.
func (s *Service) Serve(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- errors.Join(s.Run(ctx), s.Close()) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	limit := time.NewTimer(max(s.settings.DrainTimeout, leastDrain))
	defer limit.Stop()
	select {
	case err := <-done:
		return err
	case <-limit.C:
	}
	return fmt.Errorf("the drain has not ended within %s: %s", s.settings.DrainTimeout, s.undrained(context.WithoutCancel(ctx)))
}

// tellDrain logs what a drain waits for, at growing intervals, until ctx ends.
func (s *Service) tellDrain(ctx context.Context) {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	var remind export.Reminder
	for {
		if lasted, due := remind.Due(); due {
			s.log.WarnContext(ctx, "still draining", "for", lasted.Round(time.Second), "waits_for", s.undrained(ctx), "at_most", s.settings.DrainTimeout)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// undrained says which roles have not ended, and what is known to hold them.
func (s *Service) undrained(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	s.mu.Lock()
	names := slices.Clone(s.running)
	s.mu.Unlock()
	text := cmp.Or(strings.Join(names, ", "), "the connections")
	if s.health == nil {
		return text
	}
	if err := s.health.problem(ctx); err != nil {
		text += "; " + err.Error()
	}
	if err := s.health.refused(); err != nil {
		text += ": " + err.Error()
	}
	return text
}
