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
	// leastDrain is the shortest time that a process has to end after a signal: export records
	// what happened within 10 s, and messages are settled within 5 s.
	leastDrain = 20 * time.Second
	// drainReserve is the part of a long DRAIN_TIMEOUT that is kept for that.
	drainReserve = 20 * time.Second
)

// handlersDrain returns how long handlers may continue, given DRAIN_TIMEOUT. The rest is kept to
// record and settle.
func handlersDrain(limit time.Duration) time.Duration {
	return limit - min(limit/4, drainReserve)
}

// serve runs the service and closes it. It returns within DRAIN_TIMEOUT after the end of ctx (at
// least 20 s), even if a role has not ended: the process must then exit.
func (s *Service) serve(ctx context.Context) error {
	watching, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	go s.watch(watching)
	done := make(chan error, 1)
	go func() { done <- errors.Join(s.Run(ctx), s.Close()) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	// undrained may take readyTimeout, so that both end in time.
	limit := time.NewTimer(max(s.settings.DrainTimeout, leastDrain) - readyTimeout)
	defer limit.Stop()
	select {
	case err := <-done:
		return err
	case <-limit.C:
	}
	return fmt.Errorf("the drain has not ended within %s: %s", s.settings.DrainTimeout, s.undrained(context.WithoutCancel(ctx)))
}

// tellDrain logs at growing intervals what the drain waits for, until ctx ends.
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

// drained reports whether all roles have ended.
func (s *Service) drained() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.running) == 0
}

// undrained returns the roles that have not ended and the known reason.
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
