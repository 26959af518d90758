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
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// lookEvery is how often the streams and consumers are looked at.
	lookEvery = 10 * time.Second
	// provisionEvery is how often it is tried to make what is missing and may not be made.
	provisionEvery = time.Minute
)

// obstacles are what keeps messages from flowing, as the last look found it.
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

// check returns why messages do not flow, in words fit for any caller.
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

// Run keeps the streams and consumers in place, and the embedded server in order. A broker that
// lost its store comes back without streams, and takes no request and tells of no outcome
// until they are there; a consumer can be removed while all else goes on.
func (b *brokerLink) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if b.server != nil {
		group.Go(func() error { return b.watchServer(ctx) })
	}
	group.Go(func() error { b.watchStreams(ctx); return nil })
	return group.Wait()
}

// watchServer has the embedded server started again where that helps.
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

// watchStreams looks every ten seconds, and after each reconnect.
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
	return broker.Look(ctx, b.admin, setup.Topology(b.settings), b.schedules)
}

// provisioning makes what is missing, not too often.
type provisioning struct {
	link   *brokerLink
	wanted bool      // after a reconnect, also where nothing is missing
	next   time.Time // not to be tried before, because it may not be made
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
