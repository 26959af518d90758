package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrTooOld says that the broker lacks a feature that the guarantees need. Before 2.11 it ignores
// the subject filter of an expected last sequence, so a request could both fail and complete.
var ErrTooOld = errors.New("broker is older than nats-server 2.11")

const (
	// provisionWait bounds one request with all its repetitions. A cluster with a majority elects the
	// leader of a stream within nine seconds (nats-server's raft).
	provisionWait = 15 * time.Second
	// repeatAfter is the wait for one answer before the request is repeated.
	repeatAfter = 2 * time.Second
)

// ask repeats a request that is not answered: a stream without a leader answers no request, and
// after the election of a leader it does not answer the earlier ones.
func ask[T any](ctx context.Context, question func(context.Context) (T, error)) (T, error) {
	for {
		once, cancel := context.WithTimeout(ctx, repeatAfter)
		answer, err := question(once)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return answer, err
		}
	}
}

// Unanswered marks an error that means that JetStream gives no answer: it then wraps
// ErrUnreachable. A cluster without a majority gives no answer, or says that it is unavailable
// (503). The end of the caller's ctx is not marked.
func Unanswered(ctx context.Context, err error) error {
	api, _ := errors.AsType[*jetstream.APIError](err)
	const unavailable = 503
	if ctx.Err() == nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders) || api != nil && api.Code == unavailable) {
		return fmt.Errorf("%w: JetStream does not answer: %w", ErrUnreachable, err)
	}
	return err
}

// Provision creates the streams and consumers of t, or brings them up to date. It does not write to
// those that are already as required, and keeps the settings that t does not name. Where it may not
// write it compares, and reports all differences together as a *DriftError. It returns ErrTooOld
// for a broker before 2.11. Several processes may call it at once.
func Provision(ctx context.Context, js jetstream.JetStream, t Topology) error {
	drift := &DriftError{conn: js.Conn()}
	if err := provision(ctx, js, t, drift); err != nil {
		return fmt.Errorf("provision broker: %w", Unanswered(ctx, err))
	}
	if len(drift.Differences) > 0 {
		return drift
	}
	return nil
}

// provision creates or updates all streams and consumers of t and records the remaining
// differences.
func provision(ctx context.Context, js jetstream.JetStream, t Topology, drift *DriftError) error {
	if err := t.Validate(); err != nil {
		return err
	}
	if err := checkVersion(js.Conn().ConnectedServerVersion()); err != nil {
		return err
	}
	t = t.withDefaults()
	for _, want := range t.streams() {
		if err := provisionStream(ctx, js, want, drift); err != nil {
			return fmt.Errorf("stream %s: %w", want.Name, err)
		}
	}
	if len(t.Notifications) > 0 {
		if err := provisionStates(ctx, js, t, drift); err != nil {
			return fmt.Errorf("notification states: %w", err)
		}
	}
	for _, want := range t.consumers() {
		if err := provisionConsumer(ctx, js, want, drift); err != nil {
			return fmt.Errorf("consumer %s/%s: %w", want.stream, want.config.Durable, err)
		}
	}
	return nil
}

func checkVersion(version string) error {
	if !atLeast(version, 2, 11) {
		return fmt.Errorf("%w: it says %q", ErrTooOld, version)
	}
	return nil
}

// atLeast returns false for an invalid version.
func atLeast(version string, major, minor int) bool {
	first, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(first)
	b, errB := strconv.Atoi(second)
	return errA == nil && errB == nil && (a > major || a == major && b >= minor)
}

func provisionStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, drift *DriftError) error {
	ctx, cancel := context.WithTimeout(ctx, provisionWait)
	defer cancel()
	found, err := ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return js.Stream(ctx, want.Name) })
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if drift.step(ctx, func(ctx context.Context) error {
			_, err := js.CreateStream(ctx, want)
			return err
		}) {
			return nil
		}
		drift.Differences = append(drift.Differences, Difference{Object: want.Name})
		return nil
	}
	if err != nil {
		return err
	}
	have := found.CachedInfo().Config
	differences := compareStream(have, want)
	if len(differences) == 0 {
		return nil
	}
	if drift.step(ctx, func(ctx context.Context) error {
		_, err := js.UpdateStream(ctx, mergeStream(have, want))
		return err
	}) {
		return nil
	}
	drift.Differences = append(drift.Differences, differences...)
	return nil
}

func provisionConsumer(ctx context.Context, js jetstream.JetStream, want streamConsumer, drift *DriftError) error {
	ctx, cancel := context.WithTimeout(ctx, provisionWait)
	defer cancel()
	object := want.stream + "/" + want.config.Durable
	found, err := ask(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
		return js.Consumer(ctx, want.stream, want.config.Durable)
	})
	missing := errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrConsumerDoesNotExist)
	if missing || errors.Is(err, jetstream.ErrStreamNotFound) {
		if missing && drift.step(ctx, func(ctx context.Context) error {
			_, err := js.CreateConsumer(ctx, want.stream, want.config)
			return err
		}) {
			return nil
		}
		drift.Differences = append(drift.Differences, Difference{Object: object})
		return nil
	}
	if errors.Is(err, jetstream.ErrNotPullConsumer) {
		drift.Differences = append(drift.Differences, Difference{object, "delivery", "pull", "push"})
		return nil
	}
	if err != nil {
		return err
	}
	have := found.CachedInfo().Config
	differences := compareConsumer(object, have, want.config)
	if len(differences) == 0 {
		return nil
	}
	if drift.step(ctx, func(ctx context.Context) error {
		_, err := js.UpdateConsumer(ctx, want.stream, mergeConsumer(have, want.config))
		return err
	}) {
		return nil
	}
	drift.Differences = append(drift.Differences, differences...)
	return nil
}

// differ records a difference between two comparable values.
func differ[T comparable](to *[]Difference, object, field string, have, want T) {
	if have != want {
		*to = append(*to, Difference{object, field, fmt.Sprint(want), fmt.Sprint(have)})
	}
}

func compareStream(have, want jetstream.StreamConfig) []Difference {
	var d []Difference
	subjects := func(s []string) string { return strings.Join(slices.Sorted(slices.Values(s)), " ") }
	differ(&d, want.Name, "subjects", subjects(have.Subjects), subjects(want.Subjects))
	differ(&d, want.Name, "retention", have.Retention, want.Retention)
	differ(&d, want.Name, "storage", have.Storage, want.Storage)
	differ(&d, want.Name, "replicas", have.Replicas, want.Replicas)
	differ(&d, want.Name, "max age", have.MaxAge, want.MaxAge)
	differ(&d, want.Name, "max messages per subject", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	if want.MaxBytes > 0 {
		differ(&d, want.Name, "max bytes", have.MaxBytes, want.MaxBytes)
	}
	differ(&d, want.Name, "discard", have.Discard, want.Discard)
	differ(&d, want.Name, "discard new per subject", have.DiscardNewPerSubject, want.DiscardNewPerSubject)
	differ(&d, want.Name, "deny delete", have.DenyDelete, want.DenyDelete)
	differ(&d, want.Name, "deny purge", have.DenyPurge, want.DenyPurge)
	// A publisher with the right to roll up could delete the messages of others.
	differ(&d, want.Name, "roll-up allowed", have.AllowRollup, want.AllowRollup)
	differ(&d, want.Name, "schedules allowed", have.AllowMsgSchedules, want.AllowMsgSchedules)
	return d
}

func mergeStream(have, want jetstream.StreamConfig) jetstream.StreamConfig {
	have.Subjects, have.Retention, have.Storage, have.Replicas = want.Subjects, want.Retention, want.Storage, want.Replicas
	have.MaxAge, have.MaxMsgsPerSubject = want.MaxAge, want.MaxMsgsPerSubject
	if want.MaxBytes > 0 {
		have.MaxBytes = want.MaxBytes
	}
	have.Discard, have.DiscardNewPerSubject = want.Discard, want.DiscardNewPerSubject
	have.DenyDelete, have.DenyPurge = want.DenyDelete, want.DenyPurge
	have.AllowRollup, have.AllowMsgSchedules = want.AllowRollup, want.AllowMsgSchedules
	return have
}

func compareConsumer(object string, have, want jetstream.ConsumerConfig) []Difference {
	var d []Difference
	differ(&d, object, "ack policy", have.AckPolicy, want.AckPolicy)
	differ(&d, object, "deliver policy", have.DeliverPolicy, want.DeliverPolicy)
	differ(&d, object, "ack wait", have.AckWait, want.AckWait)
	differ(&d, object, "max deliver", have.MaxDeliver, want.MaxDeliver)
	differ(&d, object, "max ack pending", have.MaxAckPending, want.MaxAckPending)
	differ(&d, object, "backoff list", fmt.Sprint(have.BackOff), fmt.Sprint(want.BackOff))
	differ(&d, object, "filter", have.FilterSubject+strings.Join(have.FilterSubjects, " "), want.FilterSubject)
	return d
}

func mergeConsumer(have, want jetstream.ConsumerConfig) jetstream.ConsumerConfig {
	have.AckPolicy, have.DeliverPolicy = want.AckPolicy, want.DeliverPolicy
	have.AckWait, have.MaxDeliver, have.MaxAckPending = want.AckWait, want.MaxDeliver, want.MaxAckPending
	have.BackOff, have.FilterSubject, have.FilterSubjects = nil, want.FilterSubject, nil
	return have
}
