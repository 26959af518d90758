package pgdump_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgcourier/pgcourier/internal/pgdump"
)

// watched runs a clock of 30 minutes and 10 minutes beside f on virtual time, and returns the limit
// that expired.
func watched(t *testing.T, moved func() bool, f func(pgdump.Watch)) (expired error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := pgdump.NewWatch(30*time.Minute, 10*time.Minute)
		ctx, cancel := context.WithCancelCause(t.Context())
		go w.Run(ctx, moved, cancel)
		f(w)
		synctest.Wait()
		expired = context.Cause(ctx)
		cancel(nil)
		synctest.Wait()
	})
	return expired
}

func wait(w pgdump.Watch, d time.Duration, progress bool) {
	w.Begin()
	time.Sleep(d) // virtual
	w.End(progress)
}

func count(w pgdump.Watch, d time.Duration) {
	w.BeginSilent()
	time.Sleep(d) // virtual
	w.EndSilent()
}

func TestWatch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		moved func() bool
		run   func(pgdump.Watch)
		want  error
	}{
		"without a wait": {nil, func(w pgdump.Watch) { time.Sleep(24 * time.Hour) }, nil},
		"much reading, little waiting": {nil, func(w pgdump.Watch) {
			for range 1000 {
				wait(w, time.Second, true)
				time.Sleep(time.Hour)
			}
		}, nil},
		"waiting within the limits": {nil, func(w pgdump.Watch) {
			for range 3 {
				wait(w, 9*time.Minute, true)
			}
		}, nil},
		"the time is used up": {nil, func(w pgdump.Watch) {
			for range 4 {
				wait(w, 9*time.Minute, true)
				time.Sleep(time.Hour)
			}
		}, pgdump.ErrTimeout},
		"no progress in one wait":   {nil, func(w pgdump.Watch) { wait(w, 11*time.Minute, false) }, pgdump.ErrStalled},
		"no progress in many waits": {nil, func(w pgdump.Watch) { wait(w, 6*time.Minute, false); wait(w, 6*time.Minute, false) }, pgdump.ErrStalled},
		"progress that is not read": {func() bool { return true }, func(w pgdump.Watch) { wait(w, 25*time.Minute, false) }, nil},
		"even then the time counts": {func() bool { return true }, func(w pgdump.Watch) { wait(w, 31*time.Minute, false) }, pgdump.ErrTimeout},
		"a long count":              {nil, func(w pgdump.Watch) { count(w, 25*time.Minute) }, nil},
		"a count without an end":    {nil, func(w pgdump.Watch) { count(w, 31*time.Minute) }, pgdump.ErrTimeout},
		"a stall beside a count": {nil, func(w pgdump.Watch) {
			w.Begin()
			count(w, 11*time.Minute)
			w.End(false)
		}, pgdump.ErrStalled},
		"two concurrent waits count once": {nil, func(w pgdump.Watch) {
			w.Begin()
			wait(w, 9*time.Minute, true)
			wait(w, 9*time.Minute, true)
			w.End(true)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := watched(t, c.moved, c.run); !errors.Is(got, c.want) {
				t.Errorf("expired = %v, want %v", got, c.want)
			}
		})
	}
}

func TestWatchIsPunctual(t *testing.T) {
	t.Parallel()
	var after atomic.Int64
	synctest.Test(t, func(t *testing.T) {
		w := pgdump.NewWatch(30*time.Minute, 10*time.Minute)
		begun := time.Now()
		w.Begin()
		w.Run(t.Context(), nil, func(error) { after.Store(int64(time.Since(begun))) })
	})
	if got := time.Duration(after.Load()); got < 10*time.Minute || got > 10*time.Minute+time.Second {
		t.Errorf("stall noticed after %s, want 10 minutes and at most a second", got)
	}
}

func TestParseIO(t *testing.T) {
	t.Parallel()
	if n, err := pgdump.ParseIO([]byte("rchar: 1\nwchar: 22\nsyscr: 3\n")); n != 22 || err != nil {
		t.Errorf("written = %d, %v; want 22", n, err)
	}
	if _, err := pgdump.ParseIO([]byte("rchar: 1\n")); err == nil {
		t.Error("no error without wchar")
	}
}
