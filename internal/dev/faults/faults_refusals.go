package main

import (
	"context"
	"errors"

	"github.com/pgcourier/pgcourier/events"
)

// refusalFaults are running brokers that refuse requests.
func refusalFaults() []fault {
	return []fault{
		{
			name: "broker-outcome-refused", about: "the broker accepts no outcome for two ack waits: each is too large for its stream", firstAttempt: true,
			strike: func(ctx context.Context, w *world) error {
				if _, err := w.dumping(ctx); err != nil {
					return err
				}
				const tooSmall, unlimited = 100, -1
				if err := w.broker.limitMessages(ctx, events.StreamOutcomes, tooSmall); err != nil {
					return err
				}
				err := errors.Join(w.workers[0].process.said(ctx, "the broker accepts no outcomes"), w.lasts(ctx, 2))
				w.heal()
				return errors.Join(err, w.broker.limitMessages(context.WithoutCancel(ctx), events.StreamOutcomes, unlimited))
			},
		},
		{
			name: "broker-consumer-removed", about: "the workers' consumer is deleted in mid-dump; they make it again",
			strike: func(ctx context.Context, w *world) error {
				if _, err := w.dumping(ctx); err != nil {
					return err
				}
				err := w.broker.js.DeleteConsumer(ctx, events.StreamRequests, events.ConsumerExport)
				w.heal()
				return err
			},
		},
	}
}

// limitMessages sets the largest message of a stream.
func (b *broker) limitMessages(ctx context.Context, stream string, size int32) error {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	c := s.CachedInfo().Config
	c.MaxMsgSize = size
	_, err = b.js.UpdateStream(ctx, c)
	return err
}
