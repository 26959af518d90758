package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/pgcourier/pgcourier/internal/failpoint"
)

func networkFaults() []fault {
	return []fault{
		{
			name: "cut-worker-broker", about: "one worker cannot reach the broker for three ack waits", firstAttempt: true,
			strike: cutOne(3, (*worker).cutBroker, (*worker).joinBroker),
		},
		{
			name: "cut-worker-control", about: "one worker cannot reach the control plane for three ack waits", firstAttempt: true,
			strike: cutOne(3, func(k *worker) { k.control.cut() }, func(k *worker) error { return k.control.join() }),
		},
		{
			name: "cut-worker-both", about: "one worker cannot reach broker and control plane for three ack waits",
			strike: cutOne(3,
				func(k *worker) { k.cutBroker(); k.control.cut() },
				func(k *worker) error { return errors.Join(k.control.join(), k.joinBroker()) }),
		},
		{
			name: "cut-flapping", about: "every worker's links break ten times, a third of an ack wait apart", firstAttempt: true,
			strike: func(ctx context.Context, w *world) error {
				for range 10 {
					for _, k := range w.workers {
						for _, e := range append([]*edge{k.control}, k.brokers...) {
							if err := e.reset(); err != nil {
								return err
							}
						}
					}
					if err := w.lasts(ctx, 1.0/3); err != nil {
						return err
					}
				}
				w.heal()
				return w.mark(ctx)
			},
		},
		{
			name: "lost-puback", about: "the broker's reply to an outcome is lost", firstAttempt: true,
			failpoints: string(failpoint.AfterCommit) + "=stop@2", strike: lostPubAck,
		},
		{
			name: "lost-ack", about: "the connection breaks on the broker's reply to an ack", firstAttempt: true,
			failpoints: string(failpoint.BeforeAck) + "=stop@2", strike: lostAck,
		},
	}
}

// cutOne disconnects the worker that is in the middle of a dump.
func cutOne(ackWaits float64, cut func(*worker), join func(*worker) error) func(ctx context.Context, w *world) error {
	return func(ctx context.Context, w *world) error {
		k, err := w.dumping(ctx)
		if err != nil {
			return err
		}
		cut(k)
		err = w.lasts(ctx, ackWaits)
		w.heal()
		return errors.Join(err, join(k))
	}
}

// lostPubAck lets the first worker's outcome reach the broker, and drops all replies until it is
// stored.
func lostPubAck(ctx context.Context, w *world) error {
	if err := w.stopped(ctx, string(failpoint.AfterCommit)); err != nil {
		return err
	}
	return w.alone(func() error {
		k := w.workers[0]
		before, err := w.outcomesStored(ctx)
		if err != nil {
			return err
		}
		if err := errors.Join(k.dropBrokerReplies(), k.process.signal(syscall.SIGCONT)); err != nil {
			return err
		}
		err = w.finished(ctx, before+1)
		w.heal()
		return errors.Join(err, k.passBrokerReplies(ctx))
	})
}

// lostAck lets the first worker's ack reach the broker and breaks the connection on its
// reply.
func lostAck(ctx context.Context, w *world) error {
	if err := w.stopped(ctx, string(failpoint.BeforeAck)); err != nil {
		return err
	}
	return w.alone(func() error {
		k := w.workers[0]
		before, err := w.queued(ctx)
		if err != nil {
			return err
		}
		if err := errors.Join(k.brokers[0].breakOn(acknowledged), k.process.signal(syscall.SIGCONT)); err != nil {
			return err
		}
		err = until(ctx, timeout(0), "the ack to be taken", func(ctx context.Context) (bool, error) {
			now, err := w.queued(ctx)
			return now < before, err
		})
		w.heal()
		return errors.Join(err, k.brokers[0].fix(ctx))
	})
}

// alone stops the other worker while do runs, because it would hide the effect.
func (w *world) alone(do func() error) error {
	other := w.workers[1].process
	if err := other.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return errors.Join(do(), other.signal(syscall.SIGCONT))
}

// lostReply stops the first worker before a statement of the ledger, drops the reply of its COMMIT
// and breaks the connection: the worker cannot know whether the transaction was committed.
func lostReply(name, about string, point failpoint.Name, effects string) fault {
	return fault{
		name: name, about: about, failpoints: string(point) + "=stop@2", firstAttempt: true,
		strike: func(ctx context.Context, w *world) error {
			if err := w.stopped(ctx, string(point)); err != nil {
				return err
			}
			k := w.workers[0]
			self := k.names[len(k.names)-1]
			before, err := w.count(ctx, effects, self)
			if err != nil {
				return err
			}
			if err := k.control.breakOn(committed); err != nil {
				return err
			}
			if err := k.process.signal(syscall.SIGCONT); err != nil {
				return err
			}
			err = until(ctx, timeout(0), "the transaction to be committed", func(ctx context.Context) (bool, error) {
				now, err := w.count(ctx, effects, self)
				if err == nil && now <= before {
					err = fmt.Errorf("still %d", now)
				}
				return err == nil, err
			})
			w.heal()
			return errors.Join(err, k.control.fix(ctx))
		},
	}
}
