package service

import (
	"context"
	"errors"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

// openingGrace is how long the start may take to end after a signal. No request runs yet, so that
// nothing must be recorded. It is shorter than the 10 s after which Docker kills a container.
const openingGrace = 5 * time.Second

// Serve makes the service of c, runs it and closes it. After the end of ctx it returns within
// DRAIN_TIMEOUT (at least 20 s), or within 5 s if it has not begun to serve, even if a part hangs: the
// process must then exit. A start that the end of ctx cuts off is no error. Other errors are those of
// New and Run.
func Serve(ctx context.Context, c Config) error {
	w, err := prepare(c)
	if err != nil {
		return err
	}
	s := w.service
	s.manager.begin(ctx)
	opened := make(chan error, 1)
	go func() {
		err := w.open(ctx)
		if err != nil {
			err = errors.Join(err, s.Close())
		}
		opened <- err
	}()
	if open, err := s.awaitOpen(ctx, opened); !open {
		return err
	}
	return s.serve(ctx)
}

// awaitOpen waits for the end of the start, and logs a long one at growing intervals. open is false if
// the start failed, or if ctx ended before.
func (s *Service) awaitOpen(ctx context.Context, opened <-chan error) (open bool, err error) {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	var remind export.Reminder
	var late <-chan time.Time // nil: ctx has not ended
	for stop := ctx.Done(); ; {
		if lasted, due := remind.Due(); due {
			s.log.WarnContext(ctx, "still starting", "for", lasted.Round(time.Second), "waits_for", s.opens())
		}
		select {
		case err := <-opened:
			if err != nil && ctx.Err() != nil {
				s.log.InfoContext(ctx, "stopped before serving", "waited_for", s.opens(), "error", err)
				return false, nil
			}
			return err == nil, err
		case <-stop:
			stop, late = nil, time.After(openingGrace)
		case <-late:
			s.log.WarnContext(ctx, "stopped before serving: the start did not end in time", "waited_for", s.opens())
			return false, nil
		case <-tick.C:
		}
	}
}

// opening records what the start waits for.
func (s *Service) opening(what string) {
	s.manager.say("starting: waits for " + what)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaited = what
}

// opens returns what the start waits for.
func (s *Service) opens() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.awaited
}
