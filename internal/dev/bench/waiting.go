package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
)

// waiting reads the worker's memory while many requests wait for it.
func (p *eventsPart) waiting(ctx context.Context, r *result) error {
	p.tell("queueing %d requests", p.options.waiting)
	limit := fmt.Sprintf("MAX_WAITING_PER_PROJECT=%d", p.options.waiting/p.each+1)
	w, err := p.startWorker(ctx, "ROLES=intake", limit)
	if err != nil {
		return err
	}
	idle := status(w.pid(), "VmRSS")
	requests := make([]events.Requested, p.options.waiting)
	for n := range requests {
		requests[n] = events.Requested{ProjectID: eventsProject(n % p.each), RequestID: fmt.Sprintf("waiting-%d", n)}
	}
	if err := errors.Join(w.publishAll(ctx, requests), w.stop()); err != nil {
		return err
	}
	if w, err = p.startWorkerOn(ctx, w.dir, limit); err != nil {
		return err
	}
	done := make(chan *nats.Msg, len(requests))
	sub, err := w.nc.ChanSubscribe(events.CompletedFilter, done)
	if err != nil {
		return errors.Join(err, w.close())
	}
	defer func() { _ = sub.Unsubscribe() }()
	// Some requests are done first, so that all parts of the worker have run.
	for range min(100, len(requests)) {
		select {
		case <-done:
		case <-w.exited:
			return fmt.Errorf("the worker ended: %w: %s", w.err, w.last())
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), w.close())
		}
	}
	now, peak := status(w.pid(), "VmRSS"), status(w.pid(), "VmHWM")
	r.notes = append(r.notes, fmt.Sprintf("With %d requests waiting in the embedded broker, after %d of them were exported, the worker with its broker has %d MiB resident, %d at most so far; "+
		"a fresh one without any request %d.", p.options.waiting, min(100, len(requests)), now>>20, peak>>20, idle>>20))
	one := func(v int64) stat {
		m := float64(v) / mebibyte
		return stat{Median: m, Min: m, Max: m, Rounds: 1}
	}
	p.figures = append(p.figures, figure{Name: "memory_waiting", Text: fmt.Sprintf("peak memory with %d waiting", p.options.waiting), Value: one(peak), Unit: "MiB"},
		figure{Name: "memory_idle", Text: "memory of a fresh worker", Value: one(idle), Unit: "MiB"})
	return w.close()
}
