package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
)

// Inspect compares the broker with t, as Provision does, and changes nothing. An error means that
// the broker could not be inspected: ErrTooOld, or a missing right.
func Inspect(ctx context.Context, js jetstream.JetStream, t Topology) ([]Difference, error) {
	drift := &DriftError{inspecting: true}
	if err := provision(ctx, js, t, drift); err != nil {
		return nil, fmt.Errorf("inspect broker: %w", err)
	}
	return drift.Differences, nil
}

// InspectSchedules is Inspect for the stream and consumer of ProvisionSchedules. ErrNoSchedules,
// ErrNotSetUp.
func InspectSchedules(ctx context.Context, js jetstream.JetStream, t Topology) ([]Difference, error) {
	drift := &DriftError{inspecting: true}
	if err := provisionSchedules(ctx, js, t, drift); err != nil {
		return nil, err
	}
	return drift.Differences, nil
}

// Clock returns the broker's time, our time at that moment, and the margin of error. It reads the
// information of the stream of requests or, without a right to that, of outcomes.
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
