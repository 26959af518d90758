package events_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/pgcluster/freeport"
)

// timeout bounds each wait for something that must happen.
const timeout = 2 * time.Minute

// queueLimit is how many requests of one project may wait in these tests.
const queueLimit = 3

// broker is an embedded server with JetStream that can be stopped and started again.
type broker struct {
	dir  string
	port int
	srv  *server.Server
}

// newBroker starts a server without streams.
func newBroker(t testing.TB) *broker {
	t.Helper()
	port, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{dir: t.TempDir(), port: port}
	b.start(t)
	t.Cleanup(b.stop)
	return b
}

func (b *broker) start(t testing.TB) {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: b.port, NoLog: true, NoSigs: true, JetStream: true, StoreDir: b.dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(timeout) {
		t.Fatal("the server does not accept connections")
	}
	b.srv = srv
}

func (b *broker) stop() {
	b.srv.Shutdown()
	b.srv.WaitForShutdown()
}

func (b *broker) connect(t testing.TB, options ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(b.srv.ClientURL(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// setup is a broker with the streams of the contract, a client, and a worker's connection.
type setup struct {
	*broker
	nc     *nats.Conn // the client's connection
	client *events.Client
	js     jetstream.JetStream // on a connection of its own
}

func newSetup(t testing.TB) *setup {
	t.Helper()
	b := newBroker(t)
	s := &setup{broker: b, nc: b.connect(t)}
	s.client = newClient(t, s.nc)
	s.js = newJetStream(t, b.connect(t))
	for _, c := range []jetstream.StreamConfig{
		{Name: events.StreamRequests, Subjects: []string{events.RequestedFilter}, Retention: jetstream.WorkQueuePolicy,
			MaxMsgsPerSubject: queueLimit, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true},
		{Name: events.StreamOutcomes, Subjects: []string{events.CompletedFilter, events.FailedFilter}, DenyDelete: true},
		{Name: events.StreamEvents, Subjects: []string{events.StartedFilter}},
	} {
		if _, err := s.js.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func newClient(t testing.TB, nc *nats.Conn) *events.Client {
	t.Helper()
	c, err := events.NewClient(nc)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newJetStream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// encoder is the Encode of an event.
type encoder interface {
	Encode(source string) (events.Message, error)
}

// natsMsg is an event ready to be published.
func natsMsg(t testing.TB, e encoder) *nats.Msg {
	t.Helper()
	m, err := e.Encode("test")
	if err != nil {
		t.Fatal(err)
	}
	out := &nats.Msg{Subject: m.Subject, Header: nats.Header{}, Data: m.Body}
	for k, v := range m.Header {
		out.Header.Set(k, v)
	}
	return out
}

// publish stores an event as a worker does: an outcome only if there is none yet.
func publish(t testing.TB, js jetstream.JetStream, e encoder) {
	t.Helper()
	var options []jetstream.PublishOpt
	if f, ok := e.(events.Failed); ok {
		options = append(options, jetstream.WithExpectLastSequenceForSubject(0, events.OutcomeFilter(f.ProjectID, f.RequestID)))
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if _, err := js.PublishMsg(ctx, natsMsg(t, e), options...); err != nil {
		t.Fatal(err)
	}
}

var at = time.Date(2026, 3, 14, 9, 26, 54, 0, time.UTC)

func failed(project, request string) events.Failed {
	return events.Failed{RequestID: request, ProjectID: project, Attempts: 1, Code: codes.DumpTimeout, Message: "m", FinishedAt: at}
}

func started(project, request string, attempt int) events.Started {
	return events.Started{
		RequestID: request, ProjectID: project, Attempt: attempt, Format: events.FormatSQL, Compression: events.CompressionGzip,
		Schemas: []string{"s"}, ServerVersion: "15.18", PgDumpVersion: "15.18", StartedAt: at,
	}
}

func progress(project, request string) events.Progress {
	return events.Progress{RequestID: request, ProjectID: project, Attempt: 1, SizeBytes: 1, At: at}
}

// eventually waits for a condition outside of the test.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			t.Fatalf("timeout: %s", what)
		case <-tick.C:
		}
	}
}
