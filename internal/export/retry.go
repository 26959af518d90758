package export

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Wait says how Retry tells of a wait.
type Wait struct {
	// For names what is waited for, in the log: "the ledger".
	For string
	// Log is told of a wait that is longer than a minute, at growing intervals. nil: the caller
	// tells of it.
	Log *slog.Logger
}

// Retry calls do until it returns anything but ErrUnavailable, with a growing, jittered
// pause from 100 ms to 5 s. It gives up when ctx ends, with do's last error.
func Retry(ctx context.Context, w Wait, do func(context.Context) error) error {
	const first, longest = 100 * time.Millisecond, 5 * time.Second
	var remind Reminder
	for pause := first; ; pause = min(2*pause, longest) {
		err := do(ctx)
		if !errors.Is(err, ErrUnavailable) {
			if waited, told := remind.End(); told && w.Log != nil {
				w.Log.InfoContext(ctx, "wait ended", "for", w.For, "waited", waited.Round(time.Second))
			}
			return err
		}
		if waited, due := remind.Due(); due && w.Log != nil {
			w.Log.WarnContext(ctx, "waiting", "for", w.For, "waited", waited.Round(time.Second), "error", err)
		}
		if sleep(ctx, pause/2+rand.N(pause)) != nil { //nolint:gosec // jitter, not a secret
			return err
		}
	}
}

// Reminder tells when something that lasts is worth a line in the log: after a while, and then
// at intervals that double, from a minute up to an hour. The zero Reminder is ready. It is not
// safe for concurrent use.
type Reminder struct {
	// After is when the first line is due. Default 1 min; 1 ns: at once.
	After time.Duration

	since time.Time // zero: it does not last
	next  time.Time
	pause time.Duration // 0: no line was due yet
}

const (
	firstReminder   = time.Minute
	longestReminder = time.Hour
)

// Due says that it lasts still: for how long, and whether a line is due now.
func (r *Reminder) Due() (lasted time.Duration, due bool) {
	now := time.Now()
	if r.since.IsZero() {
		after := r.After
		if after == 0 {
			after = firstReminder
		}
		r.since, r.next = now, now.Add(after)
		if after > 1 {
			return 0, false
		}
	}
	if now.Before(r.next) {
		return now.Sub(r.since), false
	}
	r.pause = min(max(2*r.pause, firstReminder), longestReminder)
	r.next = now.Add(r.pause)
	return now.Sub(r.since), true
}

// End says that it is over: how long it lasted, and whether a line was due before.
func (r *Reminder) End() (lasted time.Duration, told bool) {
	if !r.since.IsZero() {
		lasted, told = time.Since(r.since), r.pause > 0
	}
	*r = Reminder{After: r.After}
	return lasted, told
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
