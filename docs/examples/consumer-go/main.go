// Command consumer-go is an example of a consumer of one's own in Go with Watermill: it is
// told of each outcome, at least once, also of those that came while it did not run.
//
//	NATS_URL=nats://127.0.0.1:4222 NATS_NKEY=pgcourier-data/keys/operator.nk go run ./docs/examples/consumer-go
//
// It prints one JSON line for each outcome and ends on SIGTERM. See subscriber.go for what
// it needs between nats.go and Watermill.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	url := os.Getenv("NATS_URL")
	if url == "" {
		url = nats.DefaultURL
	}
	options := []nats.Option{nats.Name("example-consumer-go"), nats.MaxReconnects(-1)}
	if file := os.Getenv("NATS_NKEY"); file != "" {
		key, err := nats.NkeyOptionFromSeed(file)
		if err != nil {
			return fmt.Errorf("read the key: %w", err)
		}
		options = append(options, key, nats.CustomInboxPrefix("_INBOX_operator"))
	}
	nc, err := nats.Connect(url, options...)
	if err != nil {
		return fmt.Errorf("connect to the broker: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	// A durable consumer of one's own name: the broker remembers where it is. Several
	// processes under one name share the work.
	consumer, err := js.CreateOrUpdateConsumer(ctx, events.StreamOutcomes, jetstream.ConsumerConfig{
		Durable: "example-go", AckPolicy: jetstream.AckExplicitPolicy, AckWait: handlerLimit,
	})
	if err != nil {
		return fmt.Errorf("make the consumer: %w", err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NewSlogLogger(log))
	if err != nil {
		return err
	}
	router.AddMiddleware(middleware.Recoverer)
	router.AddConsumerHandler("outcomes", events.StreamOutcomes, &subscriber{consumer: consumer}, handle)
	go func() {
		<-router.Running()
		fmt.Fprintln(os.Stderr, "listening")
	}()
	return router.Run(ctx)
}

// handle is called once for each delivery. It must bear being called twice for the same
// outcome: the event's id is the same then. An error brings the message again.
func handle(msg *message.Message) error {
	outcome, err := events.DecodeOutcome(events.Message{
		Subject: msg.Metadata.Get(subjectKey), Header: header(msg), Body: msg.Payload,
	})
	if err != nil {
		return err
	}
	line := map[string]any{}
	line["project"], line["id"] = outcome.IDs()
	if c := outcome.Completed; c != nil {
		line["outcome"], line["bytes"], line["at"] = "completed", c.StoredBytes, c.Storage[0].URI
	} else {
		line["outcome"], line["code"] = "failed", outcome.Failed.Code
	}
	return json.NewEncoder(os.Stdout).Encode(line)
}

func header(msg *message.Message) map[string]string {
	out := map[string]string{}
	for name, value := range msg.Metadata {
		if name != subjectKey {
			out[name] = value
		}
	}
	return out
}
