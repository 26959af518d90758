package events_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
)

// waiting returns the number of requests in the queue.
func (s *setup) waiting(t *testing.T) uint64 {
	t.Helper()
	stream, err := s.js.Stream(t.Context(), events.StreamRequests)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

func TestRequestBackup(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	id, err := s.client.RequestBackup(t.Context(), events.Requested{
		ProjectID: "acme", Schemas: []string{"b", "a"}, RequestedBy: "gw", Trace: events.Trace{Parent: parent},
	})
	if err != nil || !events.ValidRequest(id) {
		t.Fatalf("id %q, %v", id, err)
	}
	stream, err := s.js.Stream(t.Context(), events.StreamRequests)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := stream.GetLastMsgForSubject(t.Context(), events.RequestSubject("acme"))
	if err != nil {
		t.Fatal(err)
	}
	header := map[string]string{}
	for name := range stored.Header {
		header[name] = stored.Header.Get(name)
	}
	r, err := events.Decode(events.Message{Subject: stored.Subject, Header: header, Body: stored.Data})
	if err != nil || r.RequestID != id || r.RequestedBy != "gw" || r.Schemas[0] != "a" || r.Trace.Parent != parent {
		t.Errorf("the worker reads %+v, %v", r, err)
	}
}

func TestRequestBackupRepeated(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	r := events.Requested{ProjectID: "acme", RequestID: "r1"}
	spelt := events.Requested{ProjectID: "acme", RequestID: "r1", Format: events.FormatSQL, Compress: new(true)}
	for _, same := range []events.Requested{r, r, spelt} {
		if id, err := s.client.RequestBackup(t.Context(), same); err != nil || id != "r1" {
			t.Fatalf("id %q, %v", id, err)
		}
	}
	if n := s.waiting(t); n != 1 {
		t.Errorf("three publishes of one request made %d", n)
	}
	// The same id in another project, and another request under a used id, are no repeats. The
	// second must reach a worker, which answers it as a conflict.
	for _, other := range []events.Requested{{ProjectID: "other", RequestID: "r1"}, {ProjectID: "acme", RequestID: "r1", Format: events.FormatTar}} {
		if _, err := s.client.RequestBackup(t.Context(), other); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.waiting(t); n != 3 {
		t.Errorf("%d requests wait, want 3", n)
	}
}

func TestRequestBackupRefusesInvalid(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	id, err := s.client.RequestBackup(t.Context(), events.Requested{ProjectID: "acme", StoragePath: "../x"})
	if inv, ok := errors.AsType[*events.InvalidError](err); !ok || inv.Field != "storage_path" || id != "" {
		t.Errorf("id %q, %v", id, err)
	}
	if n := s.waiting(t); n != 0 {
		t.Errorf("%d requests wait, want none", n)
	}
}

func TestRequestBackupQueueFull(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	for range queueLimit {
		if _, err := s.client.RequestBackup(t.Context(), events.Requested{ProjectID: "acme"}); err != nil {
			t.Fatal(err)
		}
	}
	id, err := s.client.RequestBackup(t.Context(), events.Requested{ProjectID: "acme"})
	if !errors.Is(err, events.ErrQueueFull) || errors.Is(err, events.ErrUnavailable) || !events.ValidRequest(id) {
		t.Errorf("id %q, %v", id, err)
	}
	if _, err := s.client.RequestBackup(t.Context(), events.Requested{ProjectID: "other"}); err != nil {
		t.Errorf("another project's request: %v", err)
	}
	// Once there is room, the same id is accepted.
	stream, err := s.js.Stream(t.Context(), events.StreamRequests)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if again, err := s.client.RequestBackup(t.Context(), events.Requested{ProjectID: "acme", RequestID: id}); err != nil || again != id {
		t.Errorf("asked again: id %q, %v", again, err)
	}
}

func TestRequestBackupUnavailable(t *testing.T) {
	t.Parallel()
	try := func(t *testing.T, ctx context.Context, c *events.Client, cause error) {
		t.Helper()
		id, err := c.RequestBackup(ctx, events.Requested{ProjectID: "acme", RequestID: "r1"})
		if !errors.Is(err, events.ErrUnavailable) || errors.Is(err, events.ErrQueueFull) || id != "r1" {
			t.Errorf("id %q, %v", id, err)
		}
		if cause != nil && !errors.Is(err, cause) {
			t.Errorf("got %v, want %v in the chain", err, cause)
		}
	}
	t.Run("no stream", func(t *testing.T) {
		t.Parallel()
		try(t, t.Context(), newClient(t, newBroker(t).connect(t)), jetstream.ErrNoStreamResponse)
	})
	t.Run("another stream", func(t *testing.T) {
		t.Parallel()
		nc := newBroker(t).connect(t)
		if _, err := newJetStream(t, nc).CreateStream(t.Context(), jetstream.StreamConfig{Name: "MINE", Subjects: []string{"backup.>"}}); err != nil {
			t.Fatal(err)
		}
		try(t, t.Context(), newClient(t, nc), nil)
	})
	t.Run("closed", func(t *testing.T) {
		t.Parallel()
		nc := newBroker(t).connect(t)
		nc.Close()
		try(t, t.Context(), newClient(t, nc), nil)
	})
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		try(t, ctx, newClient(t, newBroker(t).connect(t)), context.Canceled)
	})
	if _, err := events.NewClient(nil); err == nil {
		t.Error("a client without a connection was made")
	}
}
