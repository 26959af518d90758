package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
)

// oldStates is the stream of the notification states of earlier builds.
const oldStates = "BACKUP_NOTIFICATION_STATES"

// oldStateSubject returns the subject of a notification's state in oldStates.
func oldStateSubject(key string) string { return "backup_notification_state." + key }

// movingMark is set on the bucket's stream until all states are copied into it.
const movingMark = "pgcourier_states_move"

func isMoving(s jetstream.Stream) bool { return s.CachedInfo().Config.Metadata[movingMark] != "" }

func (t Topology) oldStatesStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              oldStates,
		Description:       "the state of each notification",
		Subjects:          []string{oldStateSubject("*")},
		MaxAge:            t.OutcomeRetention,
		MaxMsgsPerSubject: 1,
		Storage:           jetstream.FileStorage,
		Replicas:          t.Replicas,
	}
}

// statesStream returns the stream of the key-value bucket as nats.go makes it, with three exceptions.
// It refuses roll-ups, because a publisher could delete the states of others with one. It has no
// direct reads, because a replica may lag: a notification is sent again if its state is read as
// waiting. When it is full it drops the oldest states: otherwise no notification could be queued, and
// none that was sent could be recorded.
func (t Topology) statesStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              events.StreamNotificationStates,
		Description:       "the state of each notification",
		Subjects:          []string{"$KV." + events.BucketNotificationStates + ".>"},
		MaxAge:            t.OutcomeRetention,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardOld,
		DenyDelete:        true,
		Storage:           jetstream.FileStorage,
		Replicas:          t.Replicas,
		MaxBytes:          t.MaxBytes,
	}
}

// provisionStates creates the bucket of notification states and moves the states of earlier builds
// from their stream into it. The stream is the authority until the move begins, and the bucket once
// it has ended; in between States returns ErrStatesMove. The move begins only while no notifier
// runs: a notifier of an earlier build would treat a notification without its state as new and send
// it again. An interrupted move continues where it stopped.
func provisionStates(ctx context.Context, js jetstream.JetStream, t Topology, drift *DriftError) error {
	// Several processes may move at once, so each step may already be done.
	var err error
	for range 3 {
		if err = provisionStatesOnce(ctx, js, t, drift); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func provisionStatesOnce(ctx context.Context, js jetstream.JetStream, t Topology, drift *DriftError) error {
	old, err := lookUp(ctx, js, oldStates)
	if err != nil {
		return err
	}
	bucket, err := lookUp(ctx, js, events.StreamNotificationStates)
	if err != nil {
		return err
	}
	sealed := old != nil && old.CachedInfo().Config.Sealed
	switch {
	case bucket != nil && !isMoving(bucket):
		// A sealed old stream means that only its removal is left of the move. If it is not sealed, an
		// earlier build has created it again.
		if sealed {
			drift.step(ctx, func(ctx context.Context) error { return js.DeleteStream(ctx, oldStates) })
		}
		return provisionStream(ctx, js, t.statesStream(), drift)
	case bucket == nil && old == nil:
		return provisionStream(ctx, js, t.statesStream(), drift)
	case bucket == nil && !sealed && (drift.inspecting || !notifiersAreStopped(ctx, js, t)):
		return provisionStream(ctx, js, t.oldStatesStream(), drift)
	}
	return moveStates(ctx, js, t, old, drift)
}

// lookUp returns a stream; nil: it does not exist.
func lookUp(ctx context.Context, js jetstream.JetStream, name string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, provisionWait)
	defer cancel()
	s, err := ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return js.Stream(ctx, name) })
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil //nolint:nilnil // a missing stream is not an error
	}
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	return s, nil
}

// notifiersAreStopped reports whether no process waits for the notifier's messages. It returns
// false if it cannot find out.
func notifiersAreStopped(ctx context.Context, js jetstream.JetStream, t Topology) bool {
	ctx, cancel := context.WithTimeout(ctx, provisionWait)
	defer cancel()
	bindings := []Binding{{events.StreamOutcomes, events.ConsumerNotifier}}
	for _, channel := range t.Notifications {
		bindings = append(bindings, Binding{events.StreamNotifications, NotificationConsumer(channel)})
	}
	for _, b := range bindings {
		c, err := js.Consumer(ctx, b.Stream, b.Consumer)
		if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrConsumerDoesNotExist) {
			continue
		}
		if err != nil || c.CachedInfo().NumWaiting > 0 {
			return false
		}
	}
	return true
}

// moveStates copies the old stream's states into the bucket and removes the stream. Each step may
// already be done.
func moveStates(ctx context.Context, js jetstream.JetStream, t Topology, old jetstream.Stream, drift *DriftError) error {
	marked := t.statesStream()
	marked.Metadata = map[string]string{movingMark: "copying"}
	steps := []func(context.Context) error{
		func(ctx context.Context) error { // from here on it accepts no writes
			if old == nil {
				return nil
			}
			c := old.CachedInfo().Config
			c.Sealed = true
			if _, err := js.UpdateStream(ctx, c); !errors.Is(err, jetstream.ErrStreamNotFound) {
				return err
			}
			return nil // another process has moved it
		},
		func(ctx context.Context) error {
			_, err := js.CreateOrUpdateStream(ctx, marked)
			return err
		},
	}
	for _, change := range steps {
		if !drift.step(ctx, change) {
			drift.Differences = append(drift.Differences, Difference{oldStates, "notification states", "moved to their bucket", "not moved"})
			return nil
		}
	}
	if old != nil {
		if err := copyStates(ctx, js, old); err != nil {
			return err
		}
	}
	if _, err := js.UpdateStream(ctx, t.statesStream()); err != nil {
		return fmt.Errorf("end the move of the notification states: %w", err)
	}
	if err := js.DeleteStream(ctx, oldStates); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("remove stream %s: %w", oldStates, err)
	}
	return nil
}

// copyStates copies the states that the bucket lacks.
func copyStates(ctx context.Context, js jetstream.JetStream, old jetstream.Stream) error {
	kv, err := js.KeyValue(ctx, events.BucketNotificationStates)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", events.BucketNotificationStates, err)
	}
	return eachState(ctx, old, func(key string, body []byte) error {
		if _, err := kv.Create(ctx, key, body); err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
			return fmt.Errorf("move the state of notification %s: %w", key, err)
		}
		return nil
	})
}
