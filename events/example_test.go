package events_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
)

// A gateway queues an export, remembers the id, and waits for the outcome.
func ExampleClient() {
	nc, stop := connect() // in a gateway: nats.Connect(url)
	defer stop()

	client, err := events.NewClient(nc)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	id, err := client.RequestBackup(ctx, events.Requested{ProjectID: "acme", RequestID: "nightly-42"})
	switch {
	case errors.Is(err, events.ErrQueueFull):
		fmt.Println("too many exports of this project wait: ask again later")
		return
	case errors.Is(err, events.ErrUnavailable):
		fmt.Println("no broker: ask again with the id", id)
		return
	case err != nil:
		fmt.Println(err)
		return
	}
	outcome, err := client.Await(ctx, "acme", id)
	if err != nil {
		fmt.Println(err)
		return
	}
	if outcome.Failed != nil {
		fmt.Println("failed:", outcome.Failed.Code)
		return
	}
	fmt.Println("stored at", outcome.Completed.Storage[0].URI)
	// Output: stored at file:acme/nightly-42.1.sql.gz
}

// Watch shows one request from its start to its outcome.
func ExampleClient_Watch() {
	nc, stop := connect() // in a program: nats.Connect(url)
	defer stop()

	client, err := events.NewClient(nc)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	id, err := client.RequestBackup(ctx, events.Requested{ProjectID: "acme", RequestID: "nightly-43"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for event, err := range client.Watch(ctx, "acme", id) {
		switch {
		case err != nil:
			fmt.Println(err)
		case event.Progress != nil:
			fmt.Println("so far", event.Progress.SizeBytes, "bytes")
		case event.Completed != nil:
			fmt.Println("done,", event.Completed.Rows, "rows")
		case event.Failed != nil:
			fmt.Println("failed:", event.Failed.Code)
		}
	}
	// Output: done, 3 rows
}

// Decode reads a request from any publisher, and its errors repeat nothing of the input.
func ExampleDecode() {
	r, err := events.Decode(events.Message{
		Subject: "backup.requested.acme",
		Body:    []byte(`{"project_id":"acme","schemas":["public"],"compress":false}`),
	})
	fmt.Println(r.ProjectID, r.Schemas, r.Format, r.Compression, err)

	r, err = events.Decode(events.Message{
		Subject: "backup.requested.acme",
		Body:    []byte(`{"project_id":"acme","request_id":"r1","format":"exe"}`),
	})
	invalid, _ := errors.AsType[*events.InvalidError](err)
	fmt.Println(r.ProjectID, r.RequestID, "|", invalid.Field, invalid.Reason)
	// Output:
	// acme [public] sql none <nil>
	// acme r1 | format must be one of "sql", "tar", "custom", "directory"
}

// Two spellings of a request have one canonical form.
func ExampleRequested_Canonical() {
	for _, r := range []events.Requested{
		{ProjectID: "acme", Schemas: []string{"b", "a"}},
		{ProjectID: "acme", Schemas: []string{"a", "b"}, Format: events.FormatSQL, Compress: new(true)},
	} {
		canonical, err := r.Canonical()
		fmt.Println(string(canonical), err)
	}
	// Output:
	// {"project_id":"acme","schemas":["a","b"],"format":"sql","compression":"gzip"} <nil>
	// {"project_id":"acme","schemas":["a","b"],"format":"sql","compression":"gzip"} <nil>
}

// Encode makes a message that is the same each time.
func ExampleFailed_Encode() {
	m, err := events.Failed{
		RequestID: "nightly-42", ProjectID: "acme", Attempts: 1, Code: codes.ProjectNotFound, Permanent: true,
		Message: "the project does not exist", FinishedAt: time.Date(2026, 3, 14, 9, 26, 54, 0, time.UTC),
	}.Encode("pgcourier/worker")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Subject)
	fmt.Println(m.Header["ce-type"], m.Header["ce-id"], m.Header["ce-time"])
	// Output:
	// backup.failed.acme.nightly-42
	// backup.failed backup.failed.acme.nightly-42 2026-03-14T09:26:54Z
}

// connect replaces a real installation: a broker and a worker that completes each request at once.
func connect() (nc *nats.Conn, stop func()) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	dir, err := os.MkdirTemp("", "events-example-")
	must(err)
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: dir})
	must(err)
	srv.Start()
	nc, err = nats.Connect(srv.ClientURL(), nats.RetryOnFailedConnect(true))
	must(err)
	js, err := jetstream.New(nc)
	must(err)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for name, subject := range map[string]string{
		events.StreamRequests: events.RequestedFilter, events.StreamOutcomes: events.CompletedFilter, events.StreamEvents: events.StartedFilter,
	} {
		_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{subject}})
		must(err)
	}
	_, err = nc.Subscribe(events.RequestedFilter, func(m *nats.Msg) {
		r, err := events.Decode(events.Message{Subject: m.Subject, Body: m.Data})
		must(err)
		done, err := events.Completed{
			RequestID: r.RequestID, ProjectID: r.ProjectID, Attempt: 1, Format: r.Format, Compression: r.Compression,
			Encryption: events.EncryptionNone, Schemas: []string{"acme"}, SizeBytes: 817, StoredBytes: 402, Tables: 1, Rows: 3,
			SHA256:        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
			Storage:       []events.Location{{URI: "file:" + r.ProjectID + "/" + r.RequestID + ".1.sql.gz"}},
			ServerVersion: "15.18", PgDumpVersion: "15.18", StartedAt: at, FinishedAt: at,
		}.Encode("example")
		must(err)
		must(nc.Publish(done.Subject, done.Body))
	})
	must(err)
	return nc, func() {
		nc.Close()
		srv.Shutdown()
		srv.WaitForShutdown()
		must(os.RemoveAll(dir))
	}
}
