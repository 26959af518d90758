package pgdump

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"sync"
	"time"
)

// watch is the clock of a dump. It runs only while the worker waits for pg_dump or the source, so that
// a slow storage does not fail the dump. It is safe for concurrent use.
type watch struct {
	limit time.Duration // of all waiting
	stall time.Duration // of waiting without progress

	mu      sync.Mutex
	waiters int
	silent  int       // of these, the waiters for something that cannot show progress
	since   time.Time // up to when the waiting is counted; valid while there are waiters
	spent   time.Duration
	quiet   time.Duration
}

func (w *watch) begin() { w.add(1, 0) }

// beginSilent begins a wait for something that shows no progress before its end: only the limit bounds
// it. endSilent ends the wait.
func (w *watch) beginSilent() { w.add(1, 1) }

func (w *watch) endSilent() { w.add(-1, -1) }

func (w *watch) add(waiters, silent int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settle()
	w.waiters += waiters
	w.silent += silent
}

// end ends a wait; progress: bytes arrived.
func (w *watch) end(progress bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settle()
	w.waiters--
	if progress {
		w.quiet = 0
	}
}

func (w *watch) progress() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settle()
	w.quiet = 0
}

// settle adds the waiting time up to now.
func (w *watch) settle() {
	now := time.Now()
	if w.waiters > 0 {
		w.spent += now.Sub(w.since)
	}
	if w.waiters > w.silent {
		w.quiet += now.Sub(w.since)
	}
	w.since = now
}

// silence returns how long the dump has made no progress while the worker waited.
func (w *watch) silence() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settle()
	return w.quiet
}

// expired returns errTimeout or errStalled after a limit, else nil.
func (w *watch) expired() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settle()
	switch {
	case w.spent >= w.limit:
		return errTimeout
	case w.quiet >= w.stall:
		return errStalled
	}
	return nil
}

// interval returns how often run checks the limits: one is exceeded by at most a tenth, and by no more
// than a second.
func (w *watch) interval() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return min(max(min(w.limit, w.stall)/10, time.Millisecond), time.Second)
}

// run checks the limits until ctx ends, and calls expire when one is reached. moved, if not nil,
// reports progress other than bytes read.
func (w *watch) run(ctx context.Context, moved func() bool, expire func(error)) {
	t := time.NewTicker(w.interval())
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if moved != nil && moved() {
			w.progress()
		}
		if err := w.expired(); err != nil {
			expire(err)
			return
		}
	}
}

// parseWritten reads wchar from /proc/<pid>/io.
func parseWritten(b []byte) (int64, error) {
	for line := range bytes.Lines(b) {
		if v, ok := bytes.CutPrefix(line, []byte("wchar: ")); ok {
			return strconv.ParseInt(string(bytes.TrimSpace(v)), 10, 64)
		}
	}
	return 0, errors.New("no wchar")
}
