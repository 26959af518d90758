package service

import (
	"context"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// IntakeConfig is what the role intake needs.
type IntakeConfig struct {
	takeConfig
	Publisher telemetry.Publisher
}

// Intake moves bare requests to their project's queue.
type Intake struct{ config IntakeConfig }

// NewIntake makes an Intake.
func NewIntake(c IntakeConfig) *Intake { return &Intake{c} }

// Run moves requests until ctx ends.
func (i *Intake) Run(ctx context.Context) error {
	h := &handlers.Intake{Publisher: publications{i.config.Publisher}, Source: source}
	return handle(ctx, i.config.subscriber(), i.config.Telemetry, i.config.Begun, handler{"intake", events.TypeRequested, h.Handle, 0})
}
