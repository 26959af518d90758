package telegram

import (
	"context"
	"time"
)

// Clock is the client's source of time. Implementations are safe for concurrent use.
type Clock interface {
	// Now returns the current time.
	Now() time.Time
	// Sleep waits for d. It returns early with ctx's error when ctx ends.
	Sleep(ctx context.Context, d time.Duration) error
}

// SystemClock is the time of this machine.
type SystemClock struct{}

var _ Clock = SystemClock{}

// Now returns time.Now.
func (SystemClock) Now() time.Time { return time.Now() }

// Sleep waits for d. A wait that would outlast ctx's deadline fails at once: nothing is
// gained by holding a part's buffer until then.
func (SystemClock) Sleep(ctx context.Context, d time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return context.DeadlineExceeded
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}
