package pgdump

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"sync"
	"time"
)

// watch is the dump's clock. It runs only while the worker waits for pg_dump or the source:
// what a slow storage takes is no fault of the dump's. It is safe for concurrent use.
type watch struct {
	limit time.Duration // of all waiting
	stall time.Duration // of waiting without progress

	mu      sync.Mutex
	waiters int
	silent  int       // of these, how many wait for what cannot show progress
	since   time.Time // up to when the waiting is counted; valid while there are waiters
	spent   time.Duration
	quiet   time.Duration
}

func (w *watch) begin() { w.add(1, 0) }

// beginSilent begins a wait for something that shows no progress until it is done: only the
// limit bounds it. endSilent ends it.
func (w *watch) beginSilent() { w.add(1, 1) }

func (w *watch) endSilent() { w.add(-1, -1) }

func (w *watch) add(waiters, silent int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settle()
	w.waiters += waiters
	w.silent += silent
}

// end ends a wait; progress says whether it brought something.
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

// settle counts the waiting up to now.
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

// silence is for how long the dump has been waited for without progress.
func (w *watch) silence() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settle()
	return w.quiet
}

// expired is nil while neither limit is reached.
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

// run looks at the clock until ctx ends, and calls expire once a limit is reached. moved,
// if not nil, says whether there was progress besides what was read.
func (w *watch) run(ctx context.Context, moved func() bool, expire func(error)) {
	// A limit is overrun by at most a tenth of it, and by no more than a second.
	t := time.NewTicker(min(max(min(w.limit, w.stall)/10, time.Millisecond), time.Second))
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
