package telegram

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// stallWatch cancels a context with errStalled when touch was not called for a while.
type stallWatch struct {
	timer  *time.Timer
	limit  time.Duration
	cancel context.CancelCauseFunc
}

// watchStall starts the watch. The caller calls stop.
func watchStall(ctx context.Context, limit time.Duration) (context.Context, *stallWatch) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &stallWatch{limit: limit, cancel: cancel}
	w.timer = time.AfterFunc(limit, func() { cancel(errStalled) })
	return ctx, w
}

func (w *stallWatch) touch() { w.timer.Reset(w.limit) }

// pause keeps the watch from firing until the next touch.
func (w *stallWatch) pause() { w.timer.Stop() }

// endIn cancels ctx, which is the watch's own, after a while unless it ends before.
func (w *stallWatch) endIn(ctx context.Context, d time.Duration, cause error) {
	timer := time.AfterFunc(d, func() { w.cancel(cause) })
	context.AfterFunc(ctx, func() { timer.Stop() })
}

func (w *stallWatch) stop() {
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// gatedReader touches the watch at each byte that moves, keeps the reader's own error
// apart from those of the network, and can be shut.
type gatedReader struct {
	watch *stallWatch

	mu   sync.Mutex // net/http reads a request's body in a goroutine of its own
	r    io.Reader
	left int64 // of the bytes that a request has; counted for requests only
	err  error
	gone bool
}

var errShut = errors.New("the request is over")

// Read reads until the gate is shut.
func (g *gatedReader) Read(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return 0, errShut
	}
	n, err := g.r.Read(p)
	g.left -= int64(n)
	if n > 0 {
		g.watch.touch()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		g.err = err
	}
	return n, err
}

// shut waits for a Read under way and refuses each later one. It reports whether all bytes
// had been read before.
func (g *gatedReader) shut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gone = g.left > 0
	return !g.gone
}

// failure is the reader's own error, or nil.
func (g *gatedReader) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}
