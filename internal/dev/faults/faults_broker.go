package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
)

func brokerFaults() []fault {
	return []fault{
		{
			name: "broker-kill", about: "nats-server killed in mid-dump and started again at once", firstAttempt: true,
			strike: brokerDown(0),
		},
		{
			name: "broker-kill-long", about: "nats-server killed in mid-dump and gone for four ack waits", firstAttempt: true,
			strike: brokerDown(4),
		},
		{
			name: "broker-stop", about: "SIGSTOP of nats-server for two ack waits", firstAttempt: true,
			strike: func(ctx context.Context, w *world) error {
				if _, err := w.dumping(ctx); err != nil {
					return err
				}
				p := w.broker.nodes[0].process
				if err := p.signal(syscall.SIGSTOP); err != nil {
					return err
				}
				err := w.lasts(ctx, 2)
				w.heal()
				return errors.Join(err, p.signal(syscall.SIGCONT))
			},
		},
		{
			name: "broker-leader-loss", about: "SIGKILL of the queue's leader in a cluster of three", cluster: true, firstAttempt: true,
			strike: leaderLoss(events.StreamRequests),
		},
		{
			name: "broker-outcomes-leader-loss", about: "SIGKILL of the outcomes' leader in a cluster of three", cluster: true, firstAttempt: true,
			strike: leaderLoss(events.StreamOutcomes),
		},
		{
			name: "broker-quorum-loss", about: "two of three nodes killed for two ack waits", cluster: true, firstAttempt: true,
			strike: func(ctx context.Context, w *world) error {
				if _, err := w.dumping(ctx); err != nil {
					return err
				}
				down := w.broker.nodes[:2]
				for _, n := range down {
					n.process.kill()
				}
				err := w.lasts(ctx, 2)
				for _, n := range down {
					err = errors.Join(err, w.broker.start(ctx, n))
				}
				w.heal()
				return err
			},
		},
		{
			name: "broker-store-wiped", about: "nats-server loses all it stored; the gateways ask again",
			permitted: map[string][]codes.Code{anyProject: {codes.WorkerLost}},
			strike:    storeWiped,
		},
		{
			name: "broker-credentials-revoked", about: "the workers' credentials are refused for two ack waits", firstAttempt: true,
			strike: func(ctx context.Context, w *world) error {
				if _, err := w.dumping(ctx); err != nil {
					return err
				}
				good := w.broker.workerPassword
				w.broker.workerPassword = "another"
				if err := w.broker.reload(); err != nil {
					return err
				}
				if err := w.workers[0].process.said(ctx, "broker connection lost"); err != nil {
					return err
				}
				err := w.lasts(ctx, 2)
				w.broker.workerPassword = good
				w.heal()
				return errors.Join(err, w.broker.reload())
			},
		},
	}
}

func brokerDown(ackWaits float64) func(ctx context.Context, w *world) error {
	return func(ctx context.Context, w *world) error {
		if _, err := w.dumping(ctx); err != nil {
			return err
		}
		n := w.broker.nodes[0]
		n.process.kill()
		err := w.lasts(ctx, ackWaits)
		w.heal()
		return errors.Join(err, w.broker.start(ctx, n))
	}
}

func leaderLoss(stream string) func(ctx context.Context, w *world) error {
	return func(ctx context.Context, w *world) error {
		if _, err := w.dumping(ctx); err != nil {
			return err
		}
		n, err := w.broker.leader(ctx, stream)
		if err != nil {
			return err
		}
		n.process.kill()
		w.heal()
		if err := w.finished(ctx, len(w.jobs)/2); err != nil { // the others go on without it
			return err
		}
		return w.broker.start(ctx, n)
	}
}

// storeWiped removes all streams. A request in the ledger must end by itself. A request that only
// the broker had is lost, and the gateways publish it again with the same id.
func storeWiped(ctx context.Context, w *world) error {
	if _, err := w.dumping(ctx); err != nil {
		return err
	}
	n := w.broker.nodes[0]
	n.process.kill()
	if err := os.RemoveAll(w.broker.store(n)); err != nil {
		return err
	}
	if err := w.broker.start(ctx, n); err != nil {
		return err
	}
	w.heal()
	err := until(ctx, timeout(0), "the streams to be made anew", func(ctx context.Context) (bool, error) {
		for _, name := range []string{events.StreamRequests, events.StreamIntake, events.StreamOutcomes} {
			if _, err := w.broker.js.Stream(ctx, name); err != nil {
				return false, fmt.Errorf("stream %s: %w", name, err)
			}
		}
		_, err := w.broker.js.Consumer(ctx, events.StreamRequests, events.ConsumerExport)
		return err == nil, err
	})
	if err != nil {
		return err
	}
	err = until(ctx, timeout(len(w.jobs)), "the requests that the ledger knows to end", func(ctx context.Context) (bool, error) {
		n, err := w.count(ctx, `SELECT count(*) FROM pgcourier.requests WHERE published_at IS NULL`)
		if err == nil && n > 0 {
			err = fmt.Errorf("%d have not", n)
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	return w.publish(ctx, w.jobs)
}
