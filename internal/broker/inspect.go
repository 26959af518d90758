package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
)

// Inspect compares the broker with what t needs, as Provision does, and changes nothing. The
// error says why it could not be looked at: ErrTooOld, or no right to.
func Inspect(ctx context.Context, js jetstream.JetStream, t Topology) ([]Difference, error) {
	drift := &DriftError{inspecting: true}
	if err := provision(ctx, js, t, drift); err != nil {
		return nil, fmt.Errorf("inspect broker: %w", err)
	}
	return drift.Differences, nil
}

// InspectSchedules is Inspect for what ProvisionSchedules makes. ErrNoSchedules, ErrNotSetUp.
func InspectSchedules(ctx context.Context, js jetstream.JetStream, t Topology) ([]Difference, error) {
	drift := &DriftError{inspecting: true}
	if err := provisionSchedules(ctx, js, t, drift); err != nil {
		return nil, err
	}
	return drift.Differences, nil
}

// Clock returns the broker's time and ours when it was taken, within margin. It reads how the
// stream of requests or, where that may not be looked at, of outcomes is set up.
func Clock(ctx context.Context, js jetstream.JetStream, now func() time.Time) (theirs, ours time.Time, margin time.Duration, err error) {
	for _, name := range []string{events.StreamRequests, events.StreamOutcomes} {
		asked := now()
		var s jetstream.Stream
		if s, err = js.Stream(ctx, name); err != nil {
			continue
		}
		half := now().Sub(asked) / 2
		return s.CachedInfo().TimeStamp, asked.Add(half), half, nil
	}
	return time.Time{}, time.Time{}, 0, fmt.Errorf("look at the broker's clock: %w", err)
}
