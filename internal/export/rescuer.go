package export

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// AdoptionsConfig is what Adoptions work with. All but Drain and Log are required.
type AdoptionsConfig struct {
	Exporter  *Exporter
	Announcer Announcer
	Queue     Queue
	// Drain is how long a run may go on after the end of its context. Default 25 s.
	Drain time.Duration
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Adoptions run, one at a time beside all else, requests that used up their deliveries while
// they waited for their turn: the broker counts what it hands out, and a worker that ends
// gives back what it never started. Any number of processes may do so at once, and beside
// workers: the ledger grants a request to one of them.
type Adoptions struct {
	AdoptionsConfig
	all sync.WaitGroup

	mu      sync.Mutex
	running bool
	waiting []QueuedRequest
	known   map[string]bool // event ids of what waits or runs
}

var _ Adopter = (*Adoptions)(nil)

// NewAdoptions returns Adoptions over c with its defaults filled in. The caller waits.
func NewAdoptions(c AdoptionsConfig) *Adoptions {
	c.Drain = cmp.Or(c.Drain, 25*time.Second)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Adoptions{AdoptionsConfig: c, known: map[string]bool{}}
}

// Adopt runs a request when those before it have ended, announces its outcome and removes
// its message. What cannot run now, because its project does, is left to the next sweep. A
// request that takes its worker with it is lost then, and not adopted again.
func (a *Adoptions) Adopt(ctx context.Context, d QueuedRequest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known[d.Delivery.EventID] {
		return
	}
	a.known[d.Delivery.EventID] = true
	a.waiting = append(a.waiting, d)
	if !a.running {
		a.running = true
		a.all.Go(func() { a.runAll(ctx) })
	}
}

// runAll runs what waits until nothing does.
func (a *Adoptions) runAll(ctx context.Context) {
	long, cancel := outlive(ctx, a.Drain)
	defer cancel()
	for d, more := a.next(ctx); more; d, more = a.next(ctx) {
		err := a.run(long, d)
		_, later := errors.AsType[*TurnError](err)
		if err != nil && !later && !errors.Is(err, ErrSuperseded) {
			a.Log.WarnContext(ctx, "adopted request not ended, left to the next sweep",
				"project_id", d.Request.Project, "request_id", d.Request.Request, "error", err)
		}
		a.forget(d)
	}
}

func (a *Adoptions) next(ctx context.Context) (d QueuedRequest, more bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) == 0 || ctx.Err() != nil {
		a.running = false
		return d, false
	}
	d, a.waiting = a.waiting[0], a.waiting[1:]
	return d, true
}

func (a *Adoptions) forget(d QueuedRequest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.known, d.Delivery.EventID)
}

func (a *Adoptions) run(ctx context.Context, d QueuedRequest) error {
	// It is not the last time: a fault that passes is tried again, within the attempts.
	again := d.Delivery
	again.Last = false
	out, err := a.Exporter.Adopt(ctx, d.Request, again)
	if err == nil {
		err = a.Announcer.Announce(ctx, out)
	}
	if err == nil {
		err = a.Queue.Remove(ctx, d.Delivery)
	}
	return err
}

// Wait returns when none runs any more. Nothing is adopted after the end of Adopt's context.
func (a *Adoptions) Wait() { a.all.Wait() }
