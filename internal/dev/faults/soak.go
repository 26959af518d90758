package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgcourier/pgcourier/events"
)

const (
	soakPause  = time.Second      // between two requests
	soakKill   = 30 * time.Second // between two kills
	soakSample = 5 * time.Second  // between two looks at the process that lives
)

// soak runs load for d. Every 30 s it kills one of two of the three workers, chosen at random, with
// SIGKILL or SIGTERM and starts it again. The third one runs all the time, and its memory,
// descriptors and goroutines must not grow. Every export is restored and compared during the load.
func (l *lab) soak(ctx context.Context, d time.Duration, stdout io.Writer) error {
	w, err := l.openWorld(ctx, fault{name: "soak", about: "load with a kill every 30 s", workers: 3}, 0)
	if w != nil {
		defer func() { _ = w.close() }()
	}
	if err != nil {
		return err
	}
	w.jobs, w.verified = soakLoad(int(d/soakPause)), map[string]bool{}
	r := result{Fault: "soak", Requests: len(w.jobs), Attempts: map[int]int{}}
	lasting, end := context.WithTimeout(ctx, d)
	defer end()
	var kills map[string]int
	var watched []*sampled
	verifying, endVerifying := context.WithCancel(ctx)
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { kills, err = w.killing(lasting, gctx); return err })
	group.Go(func() (err error) { watched, err = w.sampling(lasting); return err })
	group.Go(func() error {
		defer endVerifying()
		if err := w.publishing(gctx); err != nil {
			return err
		}
		<-lasting.Done()
		return w.settle(gctx)
	})
	group.Go(func() error { return w.verifying(verifying, &r) })
	if err := group.Wait(); err != nil {
		r.blame("%v", err)
	}
	if err := w.closeWorkers(); err != nil {
		r.blame("%v", err)
	}
	if err := w.account(ctx, &r); err != nil {
		return err
	}
	rep := report{Begun: time.Now().UTC(), AckWait: l.options.ackWait.String()}
	for _, s := range watched {
		s.print(stdout)
		s.judge(&r)
	}
	fmt.Fprintf(stdout, "%s of load, %d kills (%d SIGKILL, %d SIGTERM)\n", d, kills["killed"]+kills["terminated"], kills["killed"], kills["terminated"])
	rep.header(stdout)
	rep.line(stdout, r)
	if len(r.Violations) > 0 {
		return errViolations
	}
	return nil
}

// soakLoad is mostly small requests.
func soakLoad(n int) []job {
	jobs := load("soak", n)
	for i := range jobs {
		jobs[i].ProjectID = fmt.Sprintf("small-%d", i%6)
		switch i % 40 {
		case 1:
			jobs[i].ProjectID = slowProject
		case 3:
			jobs[i].ProjectID = largeProject
		}
	}
	return jobs
}

func (w *world) publishing(ctx context.Context) error {
	tick := time.NewTicker(soakPause)
	defer tick.Stop()
	for i := range w.jobs {
		if err := w.publish(ctx, w.jobs[i:i+1]); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// killing kills workers until lasting ends. It always starts a killed worker again.
func (w *world) killing(lasting, ctx context.Context) (map[string]int, error) {
	kills := map[string]int{}
	tick := time.NewTicker(soakKill)
	defer tick.Stop()
	for {
		select {
		case <-lasting.Done():
			return kills, nil
		case <-tick.C:
		}
		k := w.workers[1+rand.N(len(w.workers)-1)] //nolint:gosec // any of them will do
		if rand.N(2) == 0 {                        //nolint:gosec // either will do
			kills["killed"]++
			k.process.kill()
		} else {
			kills["terminated"]++
			if err := k.process.end(time.Minute); err != nil {
				return kills, err
			}
		}
		if err := k.restart(ctx); err != nil {
			return kills, err
		}
	}
}

// verifying restores completed exports until ctx ends.
func (w *world) verifying(ctx context.Context, r *result) error {
	tick := time.NewTicker(soakSample)
	defer tick.Stop()
	for next := uint64(1); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		outcomes, last, err := w.outcomesFrom(ctx, next)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		next = last + 1
		var completed []*events.Completed
		for _, o := range outcomes {
			if o.Completed != nil {
				completed = append(completed, o.Completed)
			}
		}
		if err := w.restoreAll(context.WithoutCancel(ctx), r, completed); err != nil {
			return err
		}
		for _, c := range completed {
			w.verified[c.ProjectID+"/"+c.RequestID] = true
		}
	}
}

// sampling samples the processes that run all the time.
func (w *world) sampling(lasting context.Context) ([]*sampled, error) {
	survivor, server := w.workers[0].process, w.broker.nodes[0].process
	watched := []*sampled{{name: "worker", process: survivor, goroutines: true}, {name: "nats-server", process: server}}
	tick := time.NewTicker(soakSample)
	defer tick.Stop()
	for {
		select {
		case <-lasting.Done():
			return watched, nil
		case <-tick.C:
		}
		if text, _ := survivor.output(); !holdsAll(text, []string{"export completed"}) {
			continue // before its first fail point it would die of SIGUSR1
		}
		for _, s := range watched {
			if err := s.take(lasting); err != nil && lasting.Err() == nil {
				return watched, errors.Join(fmt.Errorf("sample %s", s.name), err)
			}
		}
	}
}

// goroutinesSignal makes a worker with fail points print its number of goroutines.
const goroutinesSignal = syscall.SIGUSR1
