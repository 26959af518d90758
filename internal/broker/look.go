package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ObstacleKind says in which way a stream or consumer is faulty.
type ObstacleKind int

const (
	// Missing means that it was removed or never created.
	Missing ObstacleKind = iota + 1
	// Paused means that an operator has paused the consumer.
	Paused
	// Silent means that the broker does not answer for it: it has no leader, for instance because a
	// cluster has no majority, or JetStream is off.
	Silent
)

// Obstacle is one fault that stops the flow of messages.
type Obstacle struct {
	Object string // "BACKUP_REQUESTS", "BACKUP_REQUESTS/export-worker" or a subject of a stream
	Kind   ObstacleKind
	Until  time.Time // of a pause
	Err    error     // if Silent
}

// String returns a text that is safe to show to any caller: it contains only names of the contract.
func (o Obstacle) String() string {
	switch o.Kind {
	case Missing:
		return o.Object + " is missing on the broker"
	case Paused:
		return fmt.Sprintf("%s is paused on the broker until %s", o.Object, o.Until.UTC().Format(time.RFC3339))
	default:
		return "the broker does not answer for " + o.Object
	}
}

// Look returns which parts of t are missing, paused or silent. schedules includes the schedules. It
// changes nothing and stops after the first silent part.
func Look(ctx context.Context, js jetstream.JetStream, t Topology, schedules bool) []Obstacle {
	t = t.withDefaults()
	streams, consumers := t.streams(), t.consumers()
	if schedules {
		streams, consumers = append(streams, t.scheduleStream()), append(consumers, t.dueConsumer())
	}
	var found []Obstacle
	missing := map[string]bool{}
	for _, s := range streams {
		o, ok := lookAtStream(ctx, js, s)
		if ok {
			continue
		}
		found = append(found, o)
		if o.Kind == Silent {
			return found
		}
		missing[s.Name] = true
	}
	for _, c := range consumers {
		if missing[c.stream] {
			continue
		}
		o, ok := lookAtConsumer(ctx, js, c.stream, c.config.Durable)
		if ok {
			continue
		}
		found = append(found, o)
		if o.Kind == Silent {
			return found
		}
	}
	return found
}

var errNoLeader = errors.New("it has no leader")

// lookAtStream returns ok if the stream exists, has a leader and accepts all required subjects.
func lookAtStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (o Obstacle, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, repeatAfter)
	defer cancel()
	name := want.Name
	s, err := js.Stream(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return Obstacle{Object: name, Kind: Missing}, false
	case err != nil:
		return Obstacle{Object: name, Kind: Silent, Err: err}, false
	}
	if c := s.CachedInfo().Cluster; leaderless(c) {
		return Obstacle{Object: name, Kind: Silent, Err: errNoLeader}, false
	}
	for _, subject := range want.Subjects {
		if !slices.Contains(s.CachedInfo().Config.Subjects, subject) { // a worker of an earlier build removed it
			return Obstacle{Object: "subject " + subject + " of " + name, Kind: Missing}, false
		}
	}
	return Obstacle{}, true
}

// leaderless reports whether c is a member of a cluster without a known leader.
func leaderless(c *jetstream.ClusterInfo) bool { return c != nil && c.Name != "" && c.Leader == "" }

// lookAtConsumer returns ok if the consumer exists, has a leader and is not paused.
func lookAtConsumer(ctx context.Context, js jetstream.JetStream, stream, name string) (o Obstacle, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, repeatAfter)
	defer cancel()
	object := stream + "/" + name
	c, err := js.Consumer(ctx, stream, name)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrConsumerDoesNotExist), errors.Is(err, jetstream.ErrStreamNotFound):
		return Obstacle{Object: object, Kind: Missing}, false
	case errors.Is(err, jetstream.ErrNotPullConsumer): // Provision reports this as drift
		return Obstacle{}, true
	case err != nil:
		return Obstacle{Object: object, Kind: Silent, Err: err}, false
	}
	info := c.CachedInfo()
	switch {
	case leaderless(info.Cluster):
		return Obstacle{Object: object, Kind: Silent, Err: errNoLeader}, false
	case info.Paused:
		return Obstacle{Object: object, Kind: Paused, Until: time.Now().Add(info.PauseRemaining)}, false
	}
	return Obstacle{}, true
}
