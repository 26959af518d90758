package service

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgcourier/pgcourier/internal/config"
)

// stuck is a role that does not end with its context.
type stuck struct{ release chan struct{} }

func (s stuck) Run(context.Context) error {
	<-s.release
	return nil
}

// A drain whose role hangs ends within DRAIN_TIMEOUT, even if the check that names the reason hangs too.
func TestADrainThatHangsEndsInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		s := &Service{
			settings: config.Config{DrainTimeout: 30 * time.Second}, log: log, draining: make(chan struct{}),
			loops: newLoops(), manager: newManager(log),
			health: NewHealth(log, nil, func(ctx context.Context) error { <-ctx.Done(); return errors.New("the control plane is unreachable") }),
		}
		s.starting, s.started = newStarting()
		role := stuck{make(chan struct{})}
		defer close(role.release)
		s.add("exporter", role)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.serve(ctx) }()
		synctest.Wait()
		begun := time.Now()
		cancel()
		err := <-ended
		if took := time.Since(begun); took > 30*time.Second {
			t.Errorf("it took %s", took)
		}
		if err == nil || !strings.Contains(err.Error(), "exporter; the control plane is unreachable") {
			t.Errorf("it ended with %v", err)
		}
	})
}
