package export

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/internal/delivery"
)

// RescuerConfig configures a Rescuer. All fields except Drain and Log are required.
type RescuerConfig struct {
	Exporter interface {
		RunDead(ctx context.Context, req Request, d delivery.Delivery) (Outcome, error)
	}
	Announcer Announcer
	Queue     Queue
	// Drain bounds a run after the end of its context. Default 25 s.
	Drain time.Duration
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Rescuer runs requests that used up their deliveries while they waited for their turn. The broker
// counts every delivery, also one that a stopping worker gives back unstarted. A Rescuer runs one
// request at a time. Any number of processes may do so at once, beside workers: the ledger grants a
// request to one of them.
type Rescuer struct {
	RescuerConfig
	all sync.WaitGroup

	mu      sync.Mutex
	running bool
	waiting []QueuedRequest
	known   map[string]bool // event ids of the waiting and running requests
}

// NewRescuer returns a Rescuer over c with its defaults filled in. The caller calls Wait.
func NewRescuer(c RescuerConfig) *Rescuer {
	c.Drain = cmp.Or(c.Drain, 25*time.Second)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Rescuer{RescuerConfig: c, known: map[string]bool{}}
}

// Rescue runs a request after the earlier ones, announces its outcome and removes its message. A
// request that cannot run now, because another one of its project runs, is left to the next sweep.
// A rescued request is lost if its worker crashes, and is not rescued again.
func (r *Rescuer) Rescue(ctx context.Context, d QueuedRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[d.Delivery.EventID] {
		return
	}
	r.known[d.Delivery.EventID] = true
	r.waiting = append(r.waiting, d)
	if !r.running {
		r.running = true
		r.all.Go(func() { r.runAll(ctx) })
	}
}

// runAll runs waiting requests until none waits.
func (r *Rescuer) runAll(ctx context.Context) {
	long, cancel := WithGrace(ctx, r.Drain)
	defer cancel()
	for d, more := r.next(ctx); more; d, more = r.next(ctx) {
		err := r.run(long, d)
		_, later := errors.AsType[*TurnError](err)
		if err != nil && !later && !errors.Is(err, ErrSuperseded) {
			r.Log.WarnContext(ctx, "rescued request not ended, left to the next sweep",
				"project_id", d.Request.Project, "request_id", d.Request.Request, "error", err)
		}
		r.forget(d)
	}
}

func (r *Rescuer) next(ctx context.Context) (d QueuedRequest, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 || ctx.Err() != nil {
		r.running = false
		return d, false
	}
	d, r.waiting = r.waiting[0], r.waiting[1:]
	return d, true
}

func (r *Rescuer) forget(d QueuedRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, d.Delivery.EventID)
}

func (r *Rescuer) run(ctx context.Context, d QueuedRequest) error {
	// This run is not the last chance: a transient fault is retried, within the attempts.
	again := d.Delivery
	again.Last = false
	out, err := r.Exporter.RunDead(ctx, d.Request, again)
	if err == nil {
		err = r.Announcer.Announce(ctx, out)
	}
	if err == nil {
		err = r.Queue.Remove(ctx, d.Delivery)
	}
	return err
}

// Wait returns when no rescued request runs. Nothing is rescued after the end of Rescue's context.
func (r *Rescuer) Wait() { r.all.Wait() }
