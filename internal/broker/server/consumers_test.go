package server_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker/server"
)

// The ways in which nats.go makes consumers, with the operator's key. This test checks what
// docs/broker.md says about them.
func TestTheOperatorsConsumers(t *testing.T) {
	t.Parallel()
	g := embedded(t)
	js := stream(t, g.connect(server.UserOperator))
	filters := events.Filters(events.StreamOutcomes)
	for name, c := range map[string]jetstream.ConsumerConfig{
		"durable pull":                      {Durable: "mine"},
		"durable pull, one filter":          {Durable: "completed", FilterSubject: filters[0]},
		"durable pull, several filters":     {Durable: "both", FilterSubjects: filters},
		"ephemeral pull":                    {},
		"ephemeral pull, one filter":        {FilterSubject: filters[0]},
		"ephemeral pull, several filters":   {FilterSubjects: filters},
		"named ephemeral, several filters":  {Name: "named", FilterSubjects: filters, InactiveThreshold: time.Minute},
		"durable pull, one project's forms": {Durable: "acme", FilterSubject: "backup.*.acme.*"},
	} {
		c.AckPolicy = jetstream.AckExplicitPolicy
		if _, err := js.CreateOrUpdateConsumer(t.Context(), events.StreamOutcomes, c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]jetstream.OrderedConsumerConfig{
		"ordered": {}, "ordered, one filter": {FilterSubjects: filters[:1]}, "ordered, several filters": {FilterSubjects: filters},
	} {
		made, err := js.OrderedConsumer(t.Context(), events.StreamOutcomes, c)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := made.FetchNoWait(1); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	pushed, err := js.CreateOrUpdatePushConsumer(t.Context(), events.StreamOutcomes, jetstream.ConsumerConfig{Durable: "pushed", DeliverSubject: "_INBOX_operator.x"})
	if err != nil {
		t.Fatal(err)
	}
	// The broker pushes within the account of the streams only.
	if info, err := pushed.Info(t.Context()); err != nil || info.PushBound {
		t.Errorf("a push consumer is bound: %+v, %v", info, err)
	}
	for name, c := range map[string]jetstream.ConsumerConfig{
		"the notifier's": {Durable: events.ConsumerNotifier}, "the verifier's": {Durable: events.ConsumerVerifier},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := js.CreateOrUpdateConsumer(ctx, events.StreamOutcomes, c)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want no answer", name, err)
		}
	}
}

// The unnamed way of clients in other languages (`consumers.get(stream, {filterSubjects: [a, b]})` in
// Node) has the consumer's name in the body, where rights cannot see it: with it one could change
// the notifier's consumer. It is refused.
func TestAnUnnamedConsumerIsRefused(t *testing.T) {
	t.Parallel()
	g := embedded(t)
	nc := g.connect(server.UserOperator)
	body := []byte(`{"stream_name":"BACKUP_OUTCOMES","config":{"name":"notifier","ack_policy":"explicit","deliver_policy":"all"}}`)
	if err := nc.PublishRequest("$JS.API.CONSUMER.CREATE.BACKUP_OUTCOMES", nc.NewRespInbox(), body); err != nil {
		t.Fatal(err)
	}
	if refusal(t, nc) == nil {
		t.Error("it was not refused")
	}
}
