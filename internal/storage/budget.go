package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

var _ export.Store = Budgeted{}

// Budgeted is a store with a time budget of its own for Put. Only the storing counts: the
// clock stops while Put waits for the stream, and while a slower destination of the same Fan
// is waited for.
type Budgeted struct {
	export.Store
	// Budget is the most time that one Put may take beside its stream's. 0: no bound.
	Budget time.Duration
	// Log gets a Put that reads nothing for longer than a minute although its stream is ready. nil: none.
	Log *slog.Logger
}

// errBudget ends a Put that took too long.
var errBudget = errors.New("the time for storing is used up")

// Put implements export.Store. When the budget is used up the error is an
// codes.UploadTimeout fault, and as after any failure nothing is left.
func (b Budgeted) Put(ctx context.Context, key string, r io.Reader, describe func() export.Manifest) ([]export.Copy, error) {
	if b.Log != nil {
		d := &demand{Reader: r}
		defer d.tell(ctx, b.Log.With("key", key))()
		r = d
	}
	if b.Budget == 0 {
		return b.Store.Put(ctx, key, r, describe)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &stopwatch{left: b.Budget, holds: 1, expired: func() { cancel(errBudget) }}
	ctx = context.WithValue(ctx, watchKey{}, w)
	w.start()
	defer w.stop()
	copies, err := b.Store.Put(ctx, key, pausing{r, w}, describe)
	if err != nil && errors.Is(context.Cause(ctx), errBudget) {
		return nil, &export.Fault{
			Code: codes.UploadTimeout, Message: fmt.Sprintf("the storage needed more than %s", b.Budget), Err: err,
		}
	}
	return copies, err
}

type watchKey struct{}

// Pause stops the clock of the budget in ctx until resume is called: for a wait that the
// destination asks for. Without a budget it does nothing.
func Pause(ctx context.Context) (resume func()) {
	w, ok := ctx.Value(watchKey{}).(*stopwatch)
	if !ok {
		return func() {}
	}
	w.stop()
	return w.start
}

// pausing stops the watch while it waits for its stream.
type pausing struct {
	io.Reader
	watch *stopwatch
}

func (p pausing) Read(b []byte) (int, error) {
	p.watch.stop()
	defer p.watch.start()
	return p.Reader.Read(b)
}

// demand counts the reads of a stream.
type demand struct {
	io.Reader
	reads   atomic.Int64
	reading atomic.Bool
}

func (d *demand) Read(b []byte) (int, error) {
	d.reading.Store(true)
	defer d.reading.Store(false)
	d.reads.Add(1)
	return d.Reader.Read(b)
}

// demandEvery is the pause between two checks of a stream.
const demandEvery = 5 * time.Second

// tell logs at growing intervals that nothing is read, until end is called.
func (d *demand) tell(ctx context.Context, log *slog.Logger) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var telling sync.WaitGroup
	telling.Go(func() {
		t := time.NewTicker(demandEvery)
		defer t.Stop()
		var remind export.Reminder
		for last := int64(-1); ; {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if reads := d.reads.Load(); reads != last || d.reading.Load() {
				last = reads
				if lasted, told := remind.End(); told {
					log.InfoContext(ctx, "the storage takes data again", "waited", lasted.Round(time.Second))
				}
			}
			if lasted, due := remind.Due(); due {
				log.WarnContext(ctx, "waiting for a storage that takes no data: it or the network is slow, or it asked to wait", "waited", lasted.Round(time.Second))
			}
		}
	})
	return func() { cancel(); telling.Wait() }
}

// stopwatch calls expired when it ran for as long as there was left.
type stopwatch struct {
	expired func()

	mu    sync.Mutex
	left  time.Duration
	holds int // it runs while there is none
	since time.Time
	timer *time.Timer // nil: stopped
}

func (w *stopwatch) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holds--; w.holds > 0 {
		return
	}
	w.since = time.Now()
	w.timer = time.AfterFunc(w.left, w.expired)
}

func (w *stopwatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holds++
	if w.timer == nil {
		return
	}
	w.timer.Stop()
	w.timer = nil
	w.left = max(0, w.left-time.Since(w.since))
}
