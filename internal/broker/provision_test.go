package broker_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/consumer"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
	"github.com/pgcourier/pgcourier/internal/secret"
)

func TestProvisionIsIdempotent(t *testing.T) {
	t.Parallel()
	nc := fresh(t)
	js := stream(t, nc)
	must(t, broker.Provision(t.Context(), js, broker.Topology{}))
	writes := brokertest.Observe(t, nc, "$JS.API.STREAM.UPDATE.>")
	creates := brokertest.Observe(t, nc, "$JS.API.*.CREATE.>")
	must(t, broker.Provision(t.Context(), js, broker.Topology{}))
	if n := writes.Total("") + creates.Total(""); n != 0 {
		t.Errorf("%d writes at the second run", n)
	}

	requests, err := js.Stream(t.Context(), events.StreamRequests)
	must(t, err)
	c := requests.CachedInfo().Config
	if c.Retention != jetstream.WorkQueuePolicy || c.MaxMsgsPerSubject != 100 || !c.DiscardNewPerSubject || c.Discard != jetstream.DiscardNew || c.Replicas != 1 {
		t.Errorf("queue is %+v", c)
	}
	worker, err := js.Consumer(t.Context(), events.StreamRequests, events.ConsumerExport)
	must(t, err)
	w := worker.CachedInfo().Config
	if w.MaxDeliver != 3 || w.AckPolicy != jetstream.AckExplicitPolicy || w.AckWait != 30*time.Second || len(w.BackOff) != 0 || w.MaxAckPending < 10_000 {
		t.Errorf("worker's consumer is %+v", w)
	}
	intake, err := js.Consumer(t.Context(), events.StreamIntake, events.ConsumerIntake)
	must(t, err)
	if n := intake.CachedInfo().Config.MaxDeliver; n != -1 {
		t.Errorf("intake delivers %d times", n)
	}
	outcomes, err := js.Stream(t.Context(), events.StreamOutcomes)
	must(t, err)
	if o := outcomes.CachedInfo().Config; !o.DenyDelete || !o.DenyPurge || o.MaxAge != 90*24*time.Hour {
		t.Errorf("outcomes are %+v", o)
	}
}

// A stream without a leader does not answer. Once it has a leader again, nothing of before remains.
func TestProvisionAsksAgain(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"STREAM.INFO.", "CONSUMER.INFO."} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			url := brokertest.Start(t, t.TempDir(), brokertest.RandomPort).ClientURL()
			must(t, broker.Provision(t.Context(), stream(t, connect(t, url)), broker.Topology{}))
			var swallow atomic.Int32
			js := brokertest.Slow(t, url, call, &swallow)
			swallow.Store(2)
			must(t, broker.Provision(t.Context(), js, broker.Topology{}))
			if left := swallow.Load(); left >= 0 {
				t.Errorf("%d questions were left to swallow: the test shows nothing", left+1)
			}
		})
	}
}

// The provisioned streams keep the contract's promises.
func TestProvisionedStreams(t *testing.T) {
	t.Parallel()
	js := stream(t, fresh(t))
	must(t, broker.Provision(t.Context(), js, broker.Topology{MaxWaitingPerProject: 2, AckWait: time.Second, MaxDeliver: 1}))
	p := broker.NewPublisher(js)
	for range 2 {
		must(t, p.Publish(events.RequestSubject("flood"), message.NewMessage("", nil)))
	}
	if err := p.Publish(events.RequestSubject("flood"), message.NewMessage("", nil)); !errors.Is(err, broker.ErrQueueFull) {
		t.Errorf("flood: %v", err)
	}
	must(t, p.Publish(events.RequestSubject("acme"), message.NewMessage("", nil)))
	for range 5 {
		must(t, p.Publish(events.TypeRequested, message.NewMessage("", nil)))
	}
	publish := func(kind string) bool {
		t.Helper()
		stored, err := p.PublishOnce(t.Context(), events.EventSubject(kind, "acme", "r1"), events.OutcomeFilter("acme", "r1"), message.NewMessage("", nil))
		must(t, err)
		return stored
	}
	// An event of the request in another stream does not prevent an outcome.
	must(t, p.Publish(events.EventSubject(events.TypeStarted, "acme", "r1"), message.NewMessage("", nil)))
	if !publish(events.TypeFailed) || publish(events.TypeCompleted) || publish(events.TypeFailed) {
		t.Error("want the first outcome stored and the others refused")
	}
	outcomes, err := js.Stream(t.Context(), events.StreamOutcomes)
	must(t, err)
	if err := outcomes.DeleteMsg(t.Context(), 1); err == nil {
		t.Error("an outcome was deleted")
	}
	if err := outcomes.Purge(t.Context()); err == nil {
		t.Error("outcomes were purged")
	}

	// A message that uses up its deliveries leaves an advisory.
	s, err := consumer.New(consumer.Config{
		JetStream: js, Logger: brokertest.Quiet(),
		Bind: func(string) (broker.Binding, error) {
			return broker.Binding{Stream: events.StreamRequests, Consumer: events.ConsumerExport}, nil
		},
		Backoff: func(int) time.Duration { return 0 },
	})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	ch, err := s.Subscribe(t.Context(), events.RequestedFilter)
	must(t, err)
	brokertest.Receive(t, ch).Nack()
	brokertest.Eventually(t, "the advisory is kept", func() bool {
		a, err := js.Stream(t.Context(), events.StreamAdvisories)
		must(t, err)
		return a.CachedInfo().State.Msgs == 1
	})
}

func TestProvisionRepairsDrift(t *testing.T) {
	t.Parallel()
	js := stream(t, fresh(t))
	must(t, broker.Provision(t.Context(), js, broker.Topology{}))
	c, err := js.Consumer(t.Context(), events.StreamRequests, events.ConsumerExport)
	must(t, err)
	raised := c.CachedInfo().Config
	raised.MaxDeliver, raised.Metadata = 30, map[string]string{"owner": "ops"}
	_, err = js.UpdateConsumer(t.Context(), events.StreamRequests, raised)
	must(t, err)
	must(t, broker.Provision(t.Context(), js, broker.Topology{MaxWaitingPerProject: 7}))
	c, err = js.Consumer(t.Context(), events.StreamRequests, events.ConsumerExport)
	must(t, err)
	if got := c.CachedInfo().Config; got.MaxDeliver != 3 || got.Metadata["owner"] != "ops" {
		t.Errorf("consumer is %+v", got)
	}
	s, err := js.Stream(t.Context(), events.StreamRequests)
	must(t, err)
	if n := s.CachedInfo().Config.MaxMsgsPerSubject; n != 7 {
		t.Errorf("%d messages for each subject", n)
	}
}

// Differences that cannot be changed are reported, all at once.
func TestProvisionReportsDrift(t *testing.T) {
	t.Parallel()
	js := stream(t, fresh(t))
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: events.StreamRequests, Subjects: []string{events.RequestedFilter},
		Storage: jetstream.MemoryStorage, MaxMsgsPerSubject: 5,
	})
	must(t, err)
	_, err = js.CreateConsumer(t.Context(), events.StreamRequests, jetstream.ConsumerConfig{
		Durable: events.ConsumerExport, AckPolicy: jetstream.AckAllPolicy,
	})
	must(t, err)
	err = broker.Provision(t.Context(), js, broker.Topology{})
	drift, ok := errors.AsType[*broker.DriftError](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	var fields []string
	for _, d := range drift.Differences {
		fields = append(fields, d.Object+" "+d.Field)
	}
	for _, want := range []string{
		"BACKUP_REQUESTS storage", "BACKUP_REQUESTS retention", "BACKUP_REQUESTS max messages per subject",
		"BACKUP_REQUESTS/export-worker ack policy", "BACKUP_REQUESTS/export-worker max deliver",
	} {
		if !slices.Contains(fields, want) {
			t.Errorf("%q is not in %q", want, fields)
		}
	}
}

// A worker without the right to write checks the streams, and reports the differences.
func TestProvisionWithoutPermission(t *testing.T) {
	t.Parallel()
	account := server.NewAccount("A")
	may := &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{"$JS.API.STREAM.INFO.*", "$JS.API.CONSUMER.INFO.>", "_INBOX.>"}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	}
	srv := brokertest.Raw(t, &server.Options{
		JetStream: true, StoreDir: t.TempDir(), Accounts: []*server.Account{account},
		Users: []*server.User{
			{Username: "operator", Password: "o", Account: account},
			{Username: "worker", Password: "w", Account: account, Permissions: may},
		},
	})
	a, err := srv.LookupAccount("A")
	must(t, err)
	must(t, a.EnableJetStream(nil, nil))
	login := func(user, password string) jetstream.JetStream {
		nc, err := broker.Connect(broker.Config{URLs: []string{srv.ClientURL()}, User: user, Password: secret.String(password), Logger: brokertest.Quiet()})
		must(t, err)
		t.Cleanup(nc.Close)
		return stream(t, nc)
	}
	operator, worker := login("operator", "o"), login("worker", "w")

	err = broker.Provision(t.Context(), worker, broker.Topology{})
	drift, ok := errors.AsType[*broker.DriftError](err)
	if !ok || len(drift.Differences) != 7 {
		t.Fatalf("want 5 streams and 2 consumers missing, got %v", err)
	}
	if !errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("want the broker's refusal, got %v", err)
	}
	must(t, broker.Provision(t.Context(), operator, broker.Topology{}))
	must(t, broker.Provision(t.Context(), worker, broker.Topology{}))
}

func TestTopologyIsValidated(t *testing.T) {
	t.Parallel()
	must(t, broker.Topology{}.Validate())
	err := broker.Topology{
		Replicas: 2, MaxWaitingPerProject: -1, OutcomeRetention: time.Second, AckWait: time.Millisecond, MaxDeliver: -1,
	}.Validate()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 5 {
		t.Errorf("want 5 faults, got %v", err)
	}
}
