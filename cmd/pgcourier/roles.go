package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/consumer"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// ready says whether the worker may take work now, in words fit for anybody.
func (w *worker) ready(ctx context.Context) error {
	if !w.connected() {
		return errors.New("the broker is unreachable")
	}
	if w.ledger == nil { // a notifier alone needs none
		return nil
	}
	if err := w.ledger.Ping(ctx); err != nil {
		return errors.New("the control plane is unreachable")
	}
	return nil
}

// run serves the configured roles until ctx ends, and then lets running exports finish.
func (w *worker) run(ctx context.Context) error {
	c := w.config
	subscription := consumer.Config{
		JetStream: w.js, Bind: bindings, Slots: c.Concurrency,
		Backoff: consumer.Exponential(c.RetryBackoff, 16*c.RetryBackoff, nil), DrainTimeout: c.DrainTimeout,
		// While the control plane is unreachable nothing is pulled: an outage costs no delivery.
		Ready:  func(ctx context.Context) error { return export.Retry(ctx, w.ledger.Ping) },
		Logger: w.log,
	}
	sub, err := consumer.New(subscription)
	if err != nil {
		return err
	}
	subscription.Turn = func(d delivery.Delivery) string { return d.Subject } // it names the project
	subscription.Window = window(c)
	queue, err := consumer.New(subscription)
	if err != nil {
		return err
	}
	// The router waits for its handlers, and not for their acknowledgements.
	defer func() { _, _ = sub.Close(), queue.Close() }() // always nil
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: c.DrainTimeout + time.Minute}, newRouterLog(w.log))
	if err != nil {
		return err
	}
	router.AddMiddleware(consumer.Settle, w.telemetry.Middleware, middleware.Recoverer)
	group, gctx := errgroup.WithContext(ctx)
	if slices.Contains(c.Roles, "worker") {
		stop, err := w.hearCancels(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	for _, role := range c.Roles {
		switch role {
		case "worker":
			h := &handlers.Requested{Exporter: w.telemetry.Runner(w.exports), Announcer: w.speaker, Groups: w.groups}
			router.AddConsumerHandler("export", events.RequestedFilter, queue, h.Handle)
		case "intake":
			h := &handlers.Intake{Publisher: publications{w.publisher(server.UserWorker)}, Source: w.source}
			router.AddConsumerHandler("intake", events.TypeRequested, sub, h.Handle)
			if w.scheduling {
				router.AddConsumerHandler("due", events.DueFilter, sub, w.due().Handle)
			}
		case "sweeper":
			group.Go(func() error { return w.sweep(gctx) })
		case config.RolePruner:
			group.Go(func() error { w.pruner.Serve(gctx, c.PruneEvery); return nil })
		case config.RoleNotifier:
			group.Go(func() error { return w.notify(gctx) })
		case config.RoleVerifier:
			verify, err := w.verifications()
			if err != nil {
				return err
			}
			defer func() { _ = verify.Close() }() // always nil
			h := &handlers.Completed{
				Verifier: w.telemetry.Verifier(w.checker), Publisher: publications{w.publisher(server.UserVerifier)},
				Source: "pgcourier/verifier", Log: w.log,
			}
			router.AddConsumerHandler("verify", events.CompletedFilter, verify, h.Handle)
		}
	}
	w.watchQueues()
	group.Go(func() error { w.provisionAgain(gctx); return nil })
	group.Go(func() error { return w.serveHTTP(gctx) })
	group.Go(func() error {
		if len(router.Handlers()) == 0 {
			<-gctx.Done()
			return nil
		}
		return router.Run(gctx)
	})
	defer context.AfterFunc(ctx, func() {
		w.log.InfoContext(ctx, "draining: running exports may finish, a second signal ends them", "at_most", c.DrainTimeout)
	})()
	w.log.InfoContext(ctx, "serving", "roles", strings.Join(c.Roles, ","), "concurrency", c.Concurrency)
	err = group.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // told to stop before all had begun
	}
	return err
}

// window is how many requests a worker holds at most, to see past one project's flood to
// whose turn it is: as many as may wait of one project, and 1,024 of others. Above 4,096 the
// heartbeats of what waits would be a load of their own.
func window(c config.Config) int {
	return c.Concurrency + min(c.MaxWaitingPerProject+1024, 4096)
}

// bindings gives the durable consumer behind each subscribed topic.
func bindings(topic string) (broker.Binding, error) {
	switch topic {
	case events.RequestedFilter:
		return broker.Binding{Stream: events.StreamRequests, Consumer: events.ConsumerExport}, nil
	case events.CompletedFilter:
		return broker.Binding{Stream: events.StreamOutcomes, Consumer: events.ConsumerVerifier}, nil
	case events.TypeRequested:
		return broker.Binding{Stream: events.StreamIntake, Consumer: events.ConsumerIntake}, nil
	case events.DueFilter:
		return broker.Binding{Stream: events.StreamSchedules, Consumer: events.ConsumerDue}, nil
	}
	return broker.Binding{}, fmt.Errorf("no consumer for %q", topic)
}

// sweep runs the sweeper; the broker's advisories make it look sooner.
func (w *worker) sweep(ctx context.Context) error {
	queue := requestQueue{
		broker.NewQueue(w.js, broker.Binding{Stream: events.StreamRequests, Consumer: events.ConsumerExport}, events.StreamAdvisories),
		newWaitingRooms(w.js).intake,
	}
	adoptions := export.NewAdoptions(export.AdoptionsConfig{
		Exporter: w.exports, Announcer: w.speaker, Queue: queue, Drain: w.config.DrainTimeout, Log: w.log,
	})
	defer adoptions.Wait()
	s := export.NewSweeper(export.SweeperConfig{
		Reaping: w.ledger, Collecting: w.ledger, Announcer: w.speaker, Store: w.store, Log: w.log,
		Queue: queue, Adopter: adoptions, Every: w.config.AckWait, Grace: 2 * w.config.AckWait,
		Forgetting: w.ledger, Keep: w.config.LedgerRetention,
	})
	const advisories = "$JS.EVENT.ADVISORY.CONSUMER.*." + events.StreamRequests + ".>"
	hint, err := w.nc.Subscribe(advisories, func(*nats.Msg) { s.Hint() })
	if err != nil {
		return fmt.Errorf("listen for advisories: %w", err)
	}
	defer func() { _ = hint.Unsubscribe() }()
	s.Run(ctx)
	return nil
}
