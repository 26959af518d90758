package service

import (
	"context"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// SchedulerConfig is what a Scheduler needs.
type SchedulerConfig struct {
	takeConfig
	Publisher            telemetry.Publisher
	MaxWaitingPerProject int // of one project's queue
}

// Scheduler moves what schedules make due to the queues. The broker keeps the time; the role
// intake serves it where the broker holds schedules.
type Scheduler struct{ config SchedulerConfig }

// NewScheduler makes a Scheduler.
func NewScheduler(c SchedulerConfig) *Scheduler { return &Scheduler{c} }

// Run moves what is due until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	c := s.config
	h := &handlers.Due{
		Publisher: publications{c.Publisher}, Source: source, Log: c.Log,
		Queued: queuedRequests{newRequestQueue(c.JetStream), c.MaxWaitingPerProject},
	}
	return handle(ctx, c.subscriber(), c.Telemetry, handler{"due", events.DueFilter, h.Handle})
}
