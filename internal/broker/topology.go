package broker

import (
	"cmp"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
)

const (
	defaultMaxWaiting = 100
	defaultRetention  = 90 * 24 * time.Hour
	// advisoryRetention is how long the broker's advisories about the queue are kept, so that a week
	// without a worker loses none.
	advisoryRetention = 7 * 24 * time.Hour
	defaultAckWait    = 30 * time.Second
	defaultMaxDeliver = 3
	// verifyDeliveries is the number of deliveries of a verification that cannot run.
	verifyDeliveries = 5
	// A message in a delayed nak, or held for its turn, counts as pending. The limit must not stop the
	// queue before the workers' own limits do.
	maxAckPending = 10_000
	minAckWait    = time.Second

	// ServiceInstances is the number of instances of the API's NATS service in a process. An instance
	// answers one call of each operation at a time, so a slow call delays an eighth of the calls after
	// it. The instances share a connection, so the broker must permit that many answers to a
	// discovery.
	ServiceInstances = 8
)

// Topology holds the configurable settings of the streams and consumers. The zero value is the
// default for one broker. The contract fixes all other settings.
type Topology struct {
	// Replicas of each stream: 1, 3 or 5. Default: 1. A cluster should have 3.
	Replicas int
	// MaxWaitingPerProject bounds the messages of one project in the queue, waiting or running. The
	// broker refuses the next one (ErrQueueFull). Default: 100.
	MaxWaitingPerProject int64
	// OutcomeRetention is how long outcomes are kept. While an outcome is kept, the broker refuses a
	// second one. Default: 90 days.
	OutcomeRetention time.Duration
	// EventRetention is how long the other events are kept. Default: 90 days.
	EventRetention time.Duration
	// AckWait is the time after its last heartbeat until a message is delivered again. It bounds how
	// soon a killed worker is noticed. Default: 30 s; at least 1 s.
	AckWait time.Duration
	// MaxBytes limits each stream. 0: no limit, and a limit that was set by hand is kept.
	MaxBytes int64
	// MaxAckPending bounds the held messages of a consumer. Default: 10,000.
	MaxAckPending int
	// Verifier adds the verifiers' consumer of completed exports. Default: none.
	Verifier bool
	// Restores adds the streams of restores and the restorers' consumer. Default: none.
	Restores bool
	// MaxDeliver bounds the deliveries of a request. Default: 3.
	MaxDeliver int
	// Notifications are the channels of a notifier, each one token of a subject. Default: none, and no
	// stream or consumer for them.
	Notifications []string
}

func (t Topology) withDefaults() Topology {
	t.Replicas = cmp.Or(t.Replicas, 1)
	t.MaxWaitingPerProject = cmp.Or(t.MaxWaitingPerProject, defaultMaxWaiting)
	t.OutcomeRetention = cmp.Or(t.OutcomeRetention, defaultRetention)
	t.EventRetention = cmp.Or(t.EventRetention, defaultRetention)
	t.AckWait = cmp.Or(t.AckWait, defaultAckWait)
	t.MaxAckPending = cmp.Or(t.MaxAckPending, maxAckPending)
	t.MaxDeliver = cmp.Or(t.MaxDeliver, defaultMaxDeliver)
	return t
}

// Validate reports all values out of range, after applying the defaults.
func (t Topology) Validate() error {
	t = t.withDefaults()
	var faults []error
	if t.Replicas != 1 && t.Replicas != 3 && t.Replicas != 5 {
		faults = append(faults, errors.New("replicas: 1, 3 or 5"))
	}
	if t.MaxWaitingPerProject < 1 {
		faults = append(faults, errors.New("waiting messages per project: at least 1"))
	}
	if t.OutcomeRetention < time.Hour || t.EventRetention < time.Hour {
		faults = append(faults, errors.New("retention: at least an hour"))
	}
	if t.AckWait < minAckWait {
		faults = append(faults, errors.New("ack wait: at least a second"))
	}
	if t.MaxDeliver < 1 {
		faults = append(faults, errors.New("deliveries: at least 1"))
	}
	return errors.Join(faults...)
}

// streams returns the required streams.
func (t Topology) streams() []jetstream.StreamConfig {
	const advisory = "$JS.EVENT.ADVISORY.CONSUMER."
	all := []jetstream.StreamConfig{
		{
			Name:                 events.StreamRequests,
			Description:          "export requests, one subject per project",
			Subjects:             []string{events.RequestedFilter},
			Retention:            jetstream.WorkQueuePolicy,
			Discard:              jetstream.DiscardNew,
			DiscardNewPerSubject: true,
			MaxMsgsPerSubject:    t.MaxWaitingPerProject,
		},
		{
			Name:              events.StreamIntake,
			Description:       "export requests that still need their project's subject",
			Subjects:          []string{events.TypeRequested},
			Retention:         jetstream.WorkQueuePolicy,
			MaxMsgsPerSubject: -1,
		},
		{
			Name:              events.StreamOutcomes,
			Description:       "how each request ended",
			Subjects:          events.Filters(events.StreamOutcomes),
			MaxAge:            t.OutcomeRetention,
			MaxMsgsPerSubject: -1,
			DenyDelete:        true,
			DenyPurge:         true,
		},
		{
			Name:              events.StreamEvents,
			Description:       "what happened beside outcomes",
			Subjects:          events.Filters(events.StreamEvents),
			MaxAge:            t.EventRetention,
			MaxMsgsPerSubject: -1,
		},
		{
			Name:        events.StreamAdvisories,
			Description: "requests whose deliveries are used up, as hints",
			Subjects: []string{
				advisory + "MAX_DELIVERIES." + events.StreamRequests + ".*",
				advisory + "MSG_TERMINATED." + events.StreamRequests + ".*",
			},
			MaxAge:            advisoryRetention,
			MaxMsgsPerSubject: -1,
		},
	}
	if t.Restores {
		all = append(all, t.restoreStreams()...)
	}
	if len(t.Notifications) > 0 {
		all = append(all, notificationQueue())
	}
	for i := range all {
		all[i].Storage = jetstream.FileStorage
		all[i].Replicas = t.Replicas
		all[i].MaxBytes = t.MaxBytes
	}
	return all
}

// restoreStreams returns the streams of restores, with the limits of those of exports.
func (t Topology) restoreStreams() []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{
			Name:                 events.StreamRestores,
			Description:          "restore requests, one subject per project",
			Subjects:             []string{events.RestoreRequestedFilter},
			Retention:            jetstream.WorkQueuePolicy,
			Discard:              jetstream.DiscardNew,
			DiscardNewPerSubject: true,
			MaxMsgsPerSubject:    t.MaxWaitingPerProject,
		},
		{
			Name:              events.StreamRestoreOutcomes,
			Description:       "how each restore ended",
			Subjects:          events.Filters(events.StreamRestoreOutcomes),
			MaxAge:            t.OutcomeRetention,
			MaxMsgsPerSubject: -1,
			DenyDelete:        true,
			DenyPurge:         true,
		},
		{
			Name:              events.StreamRestoreEvents,
			Description:       "what happened to restores beside outcomes",
			Subjects:          events.Filters(events.StreamRestoreEvents),
			MaxAge:            t.EventRetention,
			MaxMsgsPerSubject: -1,
		},
	}
}

// Binding names a durable pull consumer.
type Binding struct {
	Stream   string
	Consumer string
}

type streamConsumer struct {
	stream string
	config jetstream.ConsumerConfig
}

// consumers returns the required consumers. None has a BackOff list, which would override AckWait
// and shift the delays of naks.
func (t Topology) consumers() []streamConsumer {
	consumer := func(name, description string, maxDeliver int) jetstream.ConsumerConfig {
		return jetstream.ConsumerConfig{
			Durable:       name,
			Description:   description,
			DeliverPolicy: jetstream.DeliverAllPolicy,
			AckPolicy:     jetstream.AckExplicitPolicy,
			AckWait:       t.AckWait,
			MaxDeliver:    maxDeliver,
			MaxAckPending: t.MaxAckPending,
		}
	}
	all := []streamConsumer{
		{events.StreamRequests, consumer(events.ConsumerExport, "the workers", t.MaxDeliver)},
		{events.StreamIntake, consumer(events.ConsumerIntake, "moves requests to their projects' subjects", -1)},
	}
	if t.Restores {
		all = append(all, streamConsumer{events.StreamRestores, consumer(events.ConsumerRestore, "the restorers", t.MaxDeliver)})
	}
	if t.Verifier {
		c := consumer(events.ConsumerVerifier, "verifies completed exports", verifyDeliveries)
		c.FilterSubject = events.CompletedFilter
		c.DeliverPolicy = jetstream.DeliverNewPolicy // not the outcomes of the past
		all = append(all, streamConsumer{events.StreamOutcomes, c})
	}
	if len(t.Notifications) > 0 {
		c := consumer(events.ConsumerNotifier, "queues notifications of outcomes", -1)
		// Outcomes from before the first notifier are not announced.
		c.DeliverPolicy = jetstream.DeliverNewPolicy
		all = append(all, streamConsumer{events.StreamOutcomes, c})
		for _, one := range [][2]string{
			{events.ConsumerNotifierDamaged, events.VerificationFailedFilter}, {events.ConsumerNotifierExpiring, events.ExpiringFilter},
			{events.ConsumerNotifierLinks, events.LinkIssuedFilter},
		} {
			c := consumer(one[0], "queues notifications of "+one[1], -1)
			c.DeliverPolicy, c.FilterSubject = jetstream.DeliverNewPolicy, one[1]
			all = append(all, streamConsumer{events.StreamEvents, c})
		}
	}
	// Each channel has its own consumer, so that waiting notifications of one channel do not count in
	// another.
	for _, channel := range t.Notifications {
		c := consumer(NotificationConsumer(channel), "delivers notifications over "+channel, -1)
		c.FilterSubject = NotificationFilter(channel)
		all = append(all, streamConsumer{events.StreamNotifications, c})
	}
	return all
}
