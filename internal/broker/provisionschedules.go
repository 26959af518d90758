package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
)

var (
	// ErrNoSchedules says that the broker does not support schedules: cron lines and time zones need
	// nats-server 2.14. Versions 2.12 and 2.13 would accept the message and ignore its zone.
	ErrNoSchedules = errors.New("unsupported: schedules need nats-server 2.14 or newer")
	// ErrNotSetUp says that the stream of schedules is missing and could not be created.
	ErrNotSetUp = errors.New("the broker is not set up for schedules")
)

// ProvisionSchedules creates the stream of schedules and its consumer, or brings them up to date.
// Where it may not write it compares. It is separate from Provision, because a broker without
// schedules serves everything else. It returns ErrNoSchedules if the broker is too old, ErrNotSetUp
// (with the reason) if the stream is missing and may not be created, and a *DriftError if the
// stream is not as required.
//
// Schedules have a stream of their own. Scheduling requires roll-ups, with which a publisher can
// delete the messages of others, so the stream must not hold the messages of gateways. Scheduling
// also excludes discard-new. The stream keeps the newest message of each subject: a rewritten
// schedule replaces itself, and of several runs that could not be moved yet only the last remains.
// A due message stays in the stream after it was moved, so that a broker that lost its timer state
// behaves like one that did not: see handlers.Due.
func ProvisionSchedules(ctx context.Context, js jetstream.JetStream, t Topology) error {
	drift := &DriftError{conn: js.Conn()}
	if err := provisionSchedules(ctx, js, t, drift); err != nil {
		return err
	}
	if len(drift.Differences) > 0 {
		return drift
	}
	return nil
}

func provisionSchedules(ctx context.Context, js jetstream.JetStream, t Topology, drift *DriftError) error {
	if err := t.Validate(); err != nil {
		return fmt.Errorf("provision schedules: %w", err)
	}
	if err := checkScheduling(js.Conn().ConnectedServerVersion()); err != nil {
		return err
	}
	t = t.withDefaults()
	want := t.scheduleStream()
	if err := provisionStream(ctx, js, want, drift); err != nil {
		return fmt.Errorf("provision stream %s: %w", want.Name, err)
	}
	for _, d := range drift.Differences {
		if d.Field == "" {
			return fmt.Errorf("%w: %w", ErrNotSetUp, drift)
		}
	}
	due := t.dueConsumer()
	if err := provisionConsumer(ctx, js, due, drift); err != nil {
		return fmt.Errorf("provision consumer %s/%s: %w", due.stream, due.config.Durable, err)
	}
	return nil
}

func checkScheduling(version string) error {
	if !atLeast(version, 2, 14) {
		return fmt.Errorf("%w: this one says %q", ErrNoSchedules, version)
	}
	return nil
}

func (t Topology) scheduleStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              events.StreamSchedules,
		Description:       "recurring requests, and the newest run of each",
		Subjects:          []string{events.ScheduleFilter, events.DueFilter},
		MaxMsgsPerSubject: 1,
		AllowMsgSchedules: true,
		AllowRollup:       true,
		Storage:           jetstream.FileStorage,
		Replicas:          t.Replicas,
		MaxBytes:          t.MaxBytes,
	}
}

func (t Topology) dueConsumer() streamConsumer {
	return streamConsumer{events.StreamSchedules, jetstream.ConsumerConfig{
		Durable:       events.ConsumerDue,
		Description:   "moves what is due to its project's queue",
		FilterSubject: events.DueFilter,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       t.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: t.MaxAckPending,
	}}
}
