package export

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Retry calls do until it returns anything but ErrUnavailable, with a growing, jittered
// pause from 100 ms to 5 s. It gives up when ctx ends, with do's last error.
func Retry(ctx context.Context, do func(context.Context) error) error {
	const first, longest = 100 * time.Millisecond, 5 * time.Second
	for pause := first; ; pause = min(2*pause, longest) {
		err := do(ctx)
		if !errors.Is(err, ErrUnavailable) {
			return err
		}
		if sleep(ctx, pause/2+rand.N(pause)) != nil { //nolint:gosec // jitter, not a secret
			return err
		}
	}
}

// sleep waits for d or for the end of ctx, and returns the cause of that end.
func sleep(ctx context.Context, d time.Duration) error { return sleepUnless(ctx, d, nil) }

// sleepUnless is sleep that something on woken ends early.
func sleepUnless(ctx context.Context, d time.Duration, woken <-chan struct{}) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	case <-woken:
		return nil
	}
}

// withGrace returns a context that ends a while after ctx does: what happened must still be
// written down when the work is told to stop.
func withGrace(ctx context.Context, while time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		_ = sleep(longer, while)
		cancel()
	})
	return longer, func() { stop(); cancel() }
}
