package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
)

// oldStates is the stream in which earlier builds keep the notification states.
const oldStates = "BACKUP_NOTIFICATION_STATES"

// oldStateSubject is where oldStates keeps the state of a notification.
func oldStateSubject(key string) string { return "backup_notification_state." + key }

// movingMark is set on the bucket's stream until all states were copied into it.
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

// statesStream is the key-value bucket's stream as nats.go makes it, except for two things. It
// refuses roll-ups: a publisher that may roll up could wipe what others wrote. And it has no
// direct reads: they may come from a replica that lags, and a notification is sent again if its
// state is read as waiting.
func (t Topology) statesStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              events.StreamNotificationStates,
		Description:       "the state of each notification",
		Subjects:          []string{"$KV." + events.BucketNotificationStates + ".>"},
		MaxAge:            t.OutcomeRetention,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardNew,
		DenyDelete:        true,
		Storage:           jetstream.FileStorage,
		Replicas:          t.Replicas,
		MaxBytes:          t.MaxBytes,
	}
}

// provisionStates makes the bucket of notification states, and moves into it what earlier builds
// keep in a stream. The stream is the authority until the move begins, and the bucket once
// it has ended; in between States refuses to work. The move begins only while no notifier
// works: one of an earlier build would take a notification without its state for a new one,
// and send it again. A move that was cut off goes on from where it was.
func provisionStates(ctx context.Context, js jetstream.JetStream, t Topology, drift *DriftError) error {
	// Several processes may move at once: each step can find that another has made it.
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
		// If the old stream is sealed, only its removal is left of the move. If it is not, an
		// earlier build has made it again.
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

// lookUp returns a stream; nil: there is none.
func lookUp(ctx context.Context, js jetstream.JetStream, name string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, provisionWait)
	defer cancel()
	s, err := ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return js.Stream(ctx, name) })
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil //nolint:nilnil // no stream is an answer
	}
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	return s, nil
}

// notifiersAreStopped reports whether no process waits for the notifier's messages. It is false
// when that cannot be found out.
func notifiersAreStopped(ctx context.Context, js jetstream.JetStream, t Topology) bool {
	ctx, cancel := context.WithTimeout(ctx, provisionStep)
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

// moveStates copies the old stream's states into the bucket and removes the stream. Every step
// may have been made before.
func moveStates(ctx context.Context, js jetstream.JetStream, t Topology, old jetstream.Stream, drift *DriftError) error {
	marked := t.statesStream()
	marked.Metadata = map[string]string{movingMark: "copying"}
	steps := []func(context.Context) error{
		func(ctx context.Context) error { // from here on nothing is written to it
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

// copyStates copies what the bucket does not have yet.
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
