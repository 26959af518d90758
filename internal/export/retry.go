package export

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Wait describes a wait for the log.
type Wait struct {
	// For names what is awaited in the log, such as "the ledger".
	For string
	// Log gets a wait that is longer than a minute, at growing intervals. nil: the caller logs it.
	Log *slog.Logger
}

// Retry calls do until it returns an error other than ErrUnavailable, or nil. The jittered pause
// grows from 100 ms to 5 s. When ctx ends, Retry returns do's last error.
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

// remindEvery is the pause between two checks of whether a line about a wait is due.
const remindEvery = 5 * time.Second

// Begin logs at growing intervals that the wait lasts, and its end if it was logged before. The caller
// calls end when the wait is over. Log must be set.
func (w Wait) Begin(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var telling sync.WaitGroup
	telling.Go(func() {
		t := time.NewTicker(remindEvery)
		defer t.Stop()
		var remind Reminder
		for {
			if waited, due := remind.Due(); due {
				w.Log.WarnContext(ctx, "waiting", "for", w.For, "waited", waited.Round(time.Second))
			}
			select {
			case <-t.C:
				continue
			case <-ctx.Done():
			}
			if waited, told := remind.End(); told {
				w.Log.InfoContext(ctx, "wait ended", "for", w.For, "waited", waited.Round(time.Second))
			}
			return
		}
	})
	return func() { cancel(); telling.Wait() }
}

// Reminder decides when a lasting condition is worth a log line: after a while, and then at
// intervals that double from a minute up to an hour. The zero Reminder is ready. It is not safe for
// concurrent use.
type Reminder struct {
	// After is the delay of the first line. Default 1 min; 1 ns: no delay.
	After time.Duration

	since time.Time // zero: the condition does not hold
	next  time.Time
	pause time.Duration // 0: no line was due yet
}

const (
	firstReminder   = time.Minute
	longestReminder = time.Hour
)

// Due records that the condition still holds. It returns the duration so far, and whether a line is
// due.
func (r *Reminder) Due() (lasted time.Duration, due bool) {
	now := time.Now()
	if r.since.IsZero() {
		after := r.After
		if after == 0 {
			after = firstReminder
		}
		r.since, r.next = now, now.Add(after-1) // with 1 ns the first line is due now
	}
	if now.Before(r.next) {
		return now.Sub(r.since), false
	}
	r.pause = min(max(2*r.pause, firstReminder), longestReminder)
	r.next = now.Add(r.pause)
	return now.Sub(r.since), true
}

// End records that the condition is over. It returns its duration, and whether a line was due
// before.
func (r *Reminder) End() (lasted time.Duration, told bool) {
	if !r.since.IsZero() {
		lasted, told = time.Since(r.since), r.pause > 0
	}
	*r = Reminder{After: r.After}
	return lasted, told
}

// sleep waits for d or for the end of ctx, and returns the cause of that end.
func sleep(ctx context.Context, d time.Duration) error { return sleepUnless(ctx, d, nil) }

// sleepUnless is sleep that also ends when woken receives.
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

// WithGrace returns a context that ends some time after ctx, so that results can be recorded when
// the process stops.
func WithGrace(ctx context.Context, while time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		_ = sleep(longer, while)
		cancel()
	})
	return longer, func() { stop(); cancel() }
}
