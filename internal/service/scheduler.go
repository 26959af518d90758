package service

import (
	"context"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// SchedulerConfig is what a Scheduler needs.
type SchedulerConfig struct {
	takeConfig
	Publisher telemetry.Publisher
}

// Scheduler moves due messages of schedules to the queues. The broker computes their times. It is
// part of the role intake if the broker supports schedules.
type Scheduler struct{ config SchedulerConfig }

// NewScheduler makes a Scheduler.
func NewScheduler(c SchedulerConfig) *Scheduler { return &Scheduler{c} }

// Run moves due messages until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	c := s.config
	h := &handlers.Due{
		Publisher: publications{c.Publisher}, Source: source, Log: c.Log,
		Queue: broker.NewRequestQueue(c.JetStream, handlers.DecodeStored),
	}
	return handle(ctx, c.subscriber(), c.Telemetry, c.Begun, handler{"due", events.DueFilter, h.Handle, 0})
}
