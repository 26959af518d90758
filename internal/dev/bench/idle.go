package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
)

// asOurs are the options that save pg_dump queries in a database without comments and security
// labels. A worker uses them too.
var asOurs = []string{"--no-publications", "--no-subscriptions", "--no-comments", "--no-security-labels"}

// latency requests one export after another from an idle worker, in turns with bare pg_dumps to a
// file on the same disk, without and with the worker's options.
func (p *eventsPart) latency(ctx context.Context) (t trial, err error) {
	w, err := p.startWorker(ctx)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	one := func() (took, start time.Duration, err error) {
		c, published, took, err := w.ask(ctx, events.Requested{ProjectID: eventsProject(p.another())})
		if err != nil {
			return 0, 0, err
		}
		return took, c.StartedAt.Sub(published), nil
	}
	if _, _, err := one(); err != nil { // its connections are there from now on
		return t, err
	}
	began := time.Now()
	for range pairs {
		bare, err := p.toFile(ctx, w)
		if err != nil {
			return t, err
		}
		like, err := p.toFile(ctx, w, asOurs...)
		if err != nil {
			return t, err
		}
		p.overhead.bare, p.overhead.like = append(p.overhead.bare, ms(bare)), append(p.overhead.like, ms(like))
		took, start, err := one()
		if err != nil {
			return t, err
		}
		p.overhead.ours = append(p.overhead.ours, ms(took))
		p.overhead.starts = append(p.overhead.starts, ms(start))
	}
	for range sequential - pairs {
		_, start, err := one()
		if err != nil {
			return t, err
		}
		p.overhead.starts = append(p.overhead.starts, ms(start))
	}
	t.Wall = time.Since(began).Seconds()
	return t, nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// toFile measures one bare pg_dump.
func (p *eventsPart) toFile(ctx context.Context, w *worker, options ...string) (took time.Duration, err error) {
	file := w.tmp + "/bare.sql"
	began := time.Now()
	_, wait, err := p.pipeline(ctx, eventsDatabase, file, p.dump(eventsSchema(p.another()), options...))
	if err != nil {
		return 0, err
	}
	_, err = wait()
	return time.Since(began), errors.Join(err, os.Remove(file))
}

// refusals publishes invalid requests, as a faulty gateway would, and waits for as many failures.
func (p *eventsPart) refusals(ctx context.Context) (t trial, err error) {
	w, err := p.startWorker(ctx, fmt.Sprintf("MAX_WAITING_PER_PROJECT=%d", refusals))
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	js, err := jetstream.New(w.nc)
	if err != nil {
		return t, err
	}
	failed := make(chan *nats.Msg, refusals+1)
	sub, err := w.nc.ChanSubscribe(events.FailedFilter, failed)
	if err != nil {
		return t, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := w.nc.Flush(); err != nil {
		return t, err
	}
	began := time.Now()
	for n := range refusals {
		project := eventsProject(n % p.each)
		body := fmt.Sprintf(`{"project_id":%q,"request_id":"bad-%d","format":"spreadsheet"}`, project, n)
		if _, err := js.PublishAsync(events.RequestSubject(project), []byte(body)); err != nil {
			return t, err
		}
	}
	for range refusals {
		select {
		case m := <-failed:
			if !strings.Contains(string(m.Data), string(codes.InvalidRequest)) {
				return t, fmt.Errorf("%s: %s", m.Subject, m.Data)
			}
		case <-w.exited:
			return t, fmt.Errorf("the worker ended: %w: %s", w.err, w.last())
		case <-ctx.Done():
			return t, context.Cause(ctx)
		}
	}
	t.Wall = time.Since(began).Seconds()
	p.refused = append(p.refused, refusals/t.Wall)
	return t, nil
}
