// Command gateway-go is an example of a gateway in Go: it asks for an export of one project
// through events.Client and waits for its one outcome.
//
//	NATS_URL=nats://127.0.0.1:4222 NATS_NKEY=pgcourier-data/keys/gateway.nk go run ./docs/examples/gateway-go PROJECT
//
// It prints the outcome as JSON, and exits with 1 if the export failed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/events"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: gateway-go PROJECT")
	}
	url := os.Getenv("NATS_URL")
	if url == "" {
		url = nats.DefaultURL
	}
	options := []nats.Option{nats.Name("example-gateway-go")}
	if file := os.Getenv("NATS_NKEY"); file != "" {
		key, err := nats.NkeyOptionFromSeed(file)
		if err != nil {
			return fmt.Errorf("read the key: %w", err)
		}
		options = append(options, key, nats.CustomInboxPrefix("_INBOX_gateway"))
	}
	nc, err := nats.Connect(url, options...)
	if err != nil {
		return fmt.Errorf("connect to the broker: %w", err)
	}
	defer nc.Close()
	client, err := events.NewClient(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 40*time.Minute) // a dump may take 30
	defer cancel()

	// An id of one's own makes asking again safe: the same request gives the same outcome.
	id, err := client.RequestBackup(ctx, events.Requested{
		ProjectID: args[0], Format: events.FormatSQL, Compression: events.CompressionGzip,
		RequestedBy: "gateway-go", Metadata: map[string]string{"ticket": "OPS-41"},
	})
	if errors.Is(err, events.ErrQueueFull) {
		return errors.New("the project has as many waiting requests as it may have: ask again later")
	}
	if err != nil {
		return err
	}
	outcome, err := client.Await(ctx, args[0], id)
	if err != nil {
		return err
	}
	if outcome.Failed != nil {
		return errors.Join(show(outcome.Failed), errors.New("the export failed"))
	}
	return show(outcome.Completed)
}

func show(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }
