package broker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

func TestPublishOnceRace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	name := "O" + b.Bind.Stream
	_, err := b.JS.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: name, Subjects: []string{name + ".completed.*.*", name + ".failed.*.*"},
	})
	must(t, err)
	const publishers, requests = 4, 50
	pubs := make([]*broker.Publisher, publishers)
	for i := range pubs {
		pubs[i] = broker.NewPublisher(stream(t, connect(t, shared.ClientURL())))
	}
	var stored, refused atomic.Int64
	var all sync.WaitGroup
	for i, p := range pubs {
		all.Go(func() {
			for n := range requests {
				// Half of the publishers publish completed, half failed: one of them wins.
				kind := []string{"completed", "failed"}[i%2]
				id := fmt.Sprintf("acme.r%d", n)
				ok, err := p.PublishOnce(context.Background(), name+"."+kind+"."+id, name+".*."+id, message.NewMessage("", []byte("x")))
				switch {
				case err != nil:
					t.Error(err)
				case ok:
					stored.Add(1)
				default:
					refused.Add(1)
				}
			}
		})
	}
	all.Wait()
	if stored.Load() != requests || refused.Load() != (publishers-1)*requests {
		t.Errorf("%d stored and %d refused, want %d and %d", stored.Load(), refused.Load(), requests, (publishers-1)*requests)
	}
	s, err := b.JS.Stream(t.Context(), name)
	must(t, err)
	if n := s.CachedInfo().State.Msgs; n != requests {
		t.Errorf("%d messages in the stream, want %d", n, requests)
	}
}

func TestAFullQueueIsReported(t *testing.T) {
	t.Parallel()
	b := setup(t)
	name := "F" + b.Bind.Stream
	_, err := b.JS.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: name, Subjects: []string{name + ".*"}, Retention: jetstream.WorkQueuePolicy,
		Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgsPerSubject: 2,
	})
	must(t, err)
	p := broker.NewPublisher(b.JS)
	for range 2 {
		must(t, p.Publish(name+".flood", message.NewMessage("", nil)))
	}
	if err := p.Publish(name+".flood", message.NewMessage("", nil)); !errors.Is(err, broker.ErrQueueFull) {
		t.Errorf("third message: %v", err)
	}
	must(t, p.Publish(name+".other", message.NewMessage("", nil)))
}

func TestMetadataBecomesHeaders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := broker.NewPublisher(b.JS)
	msg := message.NewMessage("uuid-1", []byte("body"))
	msg.Metadata = message.Metadata{
		"ce-type": "backup.started", "traceparent": "00-a-b-01",
		broker.MsgIDMetadata: "m1", "Nats-Rollup": "all", "nats-expected-stream": "NONE",
	}
	must(t, p.Publish(b.Subject(), msg))
	must(t, p.Publish(b.Subject(), msg)) // the same message id: deduplicated
	if n := b.Stored(); n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
	s, err := b.JS.Stream(t.Context(), b.Bind.Stream)
	must(t, err)
	m, err := s.GetMsg(t.Context(), 1)
	must(t, err)
	want := nats.Header{
		"ce-type": {"backup.started"}, "traceparent": {"00-a-b-01"},
		broker.MsgIDMetadata: {"m1"}, broker.UUIDHeader: {"uuid-1"},
	}
	if fmt.Sprint(m.Header) != fmt.Sprint(want) {
		t.Errorf("headers %v, want %v", m.Header, want)
	}
	for key, value := range map[string]string{"": "x", "a b": "x", "a:": "x", "ok": "line\nbreak"} {
		bad := message.NewMessage("", nil)
		bad.Metadata.Set(key, value)
		if err := p.Publish(b.Subject(), bad); !errors.Is(err, broker.ErrHeader) {
			t.Errorf("metadata %q=%q: %v", key, value, err)
		}
	}
}

func TestPublishEphemeral(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := make(chan *nats.Msg, 1)
	_, err := b.NC.ChanSubscribe("progress."+b.Bind.Stream, got)
	must(t, err)
	p := broker.NewPublisher(b.JS)
	msg := message.NewMessage("", []byte("42 %"))
	msg.Metadata.Set("ce-type", "backup.progress")
	must(t, p.PublishEphemeral("progress."+b.Bind.Stream, msg))
	m := brokertest.Receive(t, got)
	if string(m.Data) != "42 %" || m.Header.Get("ce-type") != "backup.progress" {
		t.Errorf("got %q %v", m.Data, m.Header)
	}
	must(t, p.Close())
	if err := p.PublishEphemeral("x", msg); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
	if err := p.Publish("x", msg); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

func TestPublishWithoutStreamFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := broker.NewPublisher(b.JS)
	if err := p.Publish("nowhere."+b.Bind.Stream, message.NewMessage("", nil)); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("got %v", err)
	}
}
