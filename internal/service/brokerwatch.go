package service

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// lookEvery is the pause between two checks of the streams and consumers.
	lookEvery = 10 * time.Second
	// provisionEvery is the pause between two tries to create missing streams after a refusal.
	provisionEvery = time.Minute
)

// obstacles holds the faults that stop the flow of messages, as the last check found them.
type obstacles struct {
	mu      sync.Mutex
	streams []broker.Obstacle
	server  error // of the embedded server
}

func (o *obstacles) set(streams []broker.Obstacle) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.streams = streams
}

func (o *obstacles) setServer(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.server = err
}

// check returns why messages do not flow. The text may be shown to any caller.
func (b *brokerLink) check(context.Context) error {
	b.found.mu.Lock()
	defer b.found.mu.Unlock()
	switch {
	case b.found.server != nil:
		return errors.New("the embedded broker takes no messages")
	case !b.connected():
		return errors.New("the broker is unreachable")
	case len(b.found.streams) > 0:
		return errors.New(b.found.streams[0].String())
	}
	return nil
}

// Run creates missing streams and consumers again, and restarts a broken embedded server. A broker
// that lost its store has no streams after its restart, so it accepts no request and no outcome
// until they exist. An administrator can also remove a single consumer.
func (b *brokerLink) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if b.server != nil {
		group.Go(func() error { return b.watchServer(ctx) })
	}
	group.Go(func() error { b.watchStreams(ctx); return nil })
	return group.Wait()
}

// watchServer restarts a broken embedded server, and logs how long it takes no messages.
func (b *brokerLink) watchServer(ctx context.Context) error {
	remind := export.Reminder{After: 1}
	return b.server.Watch(ctx, func(fault error) {
		b.found.setServer(fault)
		if fault == nil {
			remind.End()
		} else if lasted, due := remind.Due(); due {
			b.log.ErrorContext(ctx, "the embedded broker takes no messages", "for", lasted.Round(time.Second), "error", fault)
		}
	})
}

// watchStreams checks the streams every ten seconds, and after each reconnect.
func (b *brokerLink) watchStreams(ctx context.Context) {
	nc := b.connection(b.first)
	status := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(status)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	again := provisioning{link: b}
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-status:
			if !open {
				return
			}
			again.wanted = true
		case <-b.asked.news: // nil: not the embedded broker
			again.wanted = true
		case <-tick.C:
		}
		if !nc.IsConnected() {
			continue
		}
		found := b.look(ctx)
		if again.wanted || slices.ContainsFunc(found, func(o broker.Obstacle) bool { return o.Kind == broker.Missing }) {
			again.try(ctx)
			found = b.look(ctx)
		}
		if ctx.Err() == nil {
			b.found.set(found)
		}
	}
}

func (b *brokerLink) look(ctx context.Context) []broker.Obstacle {
	return broker.Look(ctx, b.admin, b.topology(), b.schedules)
}

// provisioning creates missing streams and consumers, at most once in provisionEvery after a refusal.
type provisioning struct {
	link   *brokerLink
	wanted bool      // provision even if nothing is missing: after a reconnect
	next   time.Time // no try before this time, after a refusal
	remind export.Reminder
}

func (p *provisioning) try(ctx context.Context) {
	if time.Now().Before(p.next) {
		return
	}
	p.remind.After = 1
	b := p.link
	_, err := b.provision(ctx)
	switch {
	case err == nil:
		p.wanted = false
		if _, told := p.remind.End(); told {
			b.log.InfoContext(ctx, "broker set up again")
		}
		return
	case ctx.Err() != nil:
		return
	}
	if _, drift := errors.AsType[*broker.DriftError](err); drift {
		p.wanted, p.next = false, time.Now().Add(provisionEvery)
	}
	if lasted, due := p.remind.Due(); due {
		b.log.WarnContext(ctx, "broker not set up", "for", lasted.Round(time.Second), "error", err)
	}
}
