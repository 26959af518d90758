package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/notify/queue"
)

// between is JetStream that calls then before it updates a state, which the caller has read before.
type between struct {
	jetstream.JetStream

	then func()
}

func (b *between) KeyValue(ctx context.Context, bucket string) (jetstream.KeyValue, error) {
	kv, err := b.JetStream.KeyValue(ctx, bucket)
	return &betweenStates{kv, b.then}, err
}

type betweenStates struct {
	jetstream.KeyValue

	then func()
}

func (b *betweenStates) Update(ctx context.Context, key string, body []byte, revision uint64) (uint64, error) {
	b.then()
	return b.KeyValue.Update(ctx, key, body, revision)
}

func TestAReplayBesideAnotherChangeIsAConflict(t *testing.T) {
	t.Parallel()
	nc := brokertest.Connect(t, brokertest.Start(t, t.TempDir(), brokertest.RandomPort).ClientURL())
	js := brokertest.JetStream(t, nc)
	if err := broker.Provision(t.Context(), js, broker.Topology{Notifications: []string{"webhook"}}); err != nil {
		t.Fatal(err)
	}
	m, err := events.Failed{RequestID: "r1", ProjectID: "acme", Code: codes.InternalError, Message: "x", FinishedAt: time.Now()}.Encode("test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), m.Subject, m.Body); err != nil {
		t.Fatal(err)
	}
	records := queue.NewRecords(js)
	write := func(key notify.Key, state notify.State) {
		t.Helper()
		_, revision, err := records.Get(t.Context(), key)
		if err != nil && !errors.Is(err, notify.ErrNotFound) {
			t.Fatal(err)
		}
		r := notify.Record{Key: key, State: state, Channel: notify.Webhook, Recipient: "operator", Event: m.Subject, ProjectID: "acme", RequestID: "r1", UpdatedAt: time.Now()}
		if err := records.Put(t.Context(), r, revision); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		key  notify.Key
		then notify.State // written in between; empty: nothing
		want error
	}{
		{"webhook-a", "", nil},
		{"webhook-b", notify.Waiting, api.ErrNoticeChanged},
		{"webhook-c", notify.Sent, api.ErrNoticeChanged},
	} {
		write(c.key, notify.Parked)
		n := newNotices(nc, &between{js, func() {
			if c.then != "" {
				write(c.key, c.then)
			}
		}})
		if err := n.Replay(t.Context(), string(c.key)); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.key, err, c.want)
		}
	}
}

// hurried is JetStream for callers that have time for few reads each.
type hurried struct {
	jetstream.JetStream

	left int // reads
}

func (h *hurried) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	s, err := h.JetStream.Stream(ctx, name)
	return &hurriedStream{s, h}, err
}

type hurriedStream struct {
	jetstream.Stream

	of *hurried
}

func (h *hurriedStream) GetMsg(ctx context.Context, at uint64, opts ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	if h.of.left == 0 {
		return nil, context.DeadlineExceeded
	}
	h.of.left--
	return h.Stream.GetMsg(ctx, at, opts...)
}

// Calls that each end before a block of older notifications is read go on from one another.
func TestShortCallsReadAllNotificationsInTheEnd(t *testing.T) {
	t.Parallel()
	nc := brokertest.Connect(t, brokertest.Start(t, t.TempDir(), brokertest.RandomPort).ClientURL())
	js := brokertest.JetStream(t, nc)
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: events.BucketNotificationStates, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	const states, reads = 20, 6
	for i := range states {
		r := notify.Record{Key: notify.Key(fmt.Sprint("webhook-n", i)), State: notify.Parked, Channel: notify.Webhook, UpdatedAt: time.Now()}
		if err := queue.NewRecords(js).Put(t.Context(), r, 0); err != nil {
			t.Fatal(err)
		}
	}
	h := &hurried{JetStream: js}
	n := newNotices(nc, h)
	for range states { // of the reads of each call one is that of the changes
		h.left = reads
		list, since, err := n.List(t.Context())
		switch {
		case errors.Is(err, context.DeadlineExceeded):
		case err != nil:
			t.Fatal(err)
		case since.IsZero() && len(list) == states:
			return
		}
	}
	t.Errorf("after %d calls %d of %d are read", states, len(n.all), states)
}

// A process that starts reads the parked notifications however many others changed since: an operator must not see
// "none parked".
func TestAnOldParkedNotificationIsListed(t *testing.T) {
	t.Parallel()
	nc := brokertest.Connect(t, brokertest.Start(t, t.TempDir(), brokertest.RandomPort).ClientURL())
	js := brokertest.JetStream(t, nc)
	// In memory: on a disk each state would be synced.
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: events.BucketNotificationStates, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	record := func(key notify.Key, state notify.State) notify.Record {
		return notify.Record{Key: key, State: state, Channel: notify.Webhook, Recipient: "operator", ProjectID: "acme", RequestID: "r1", UpdatedAt: time.Now()}
	}
	records := queue.NewRecords(js)
	put := func(key notify.Key, state notify.State) {
		t.Helper()
		if err := records.Put(t.Context(), record(key, state), 0); err != nil {
			t.Fatal(err)
		}
	}
	put("webhook-parked", notify.Parked)
	body, err := json.Marshal(record("webhook-busy", notify.Sent))
	if err != nil {
		t.Fatal(err)
	}
	for range 6000 {
		if err := nc.Publish("$KV."+events.BucketNotificationStates+".webhook-busy", body); err != nil {
			t.Fatal(err)
		}
	}
	put("webhook-last", notify.Sent)
	n := newNotices(nc, js)
	keys := func() (all []string) {
		t.Helper()
		for {
			list, since, err := n.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !since.IsZero() {
				continue // a slow machine reads in several calls
			}
			for _, one := range list {
				all = append(all, one.Key)
			}
			slices.Sort(all)
			return all
		}
	}
	if got := keys(); !slices.Equal(got, []string{"webhook-busy", "webhook-last", "webhook-parked"}) {
		t.Errorf("listed %q", got)
	}

	// Of sent ones the newest are kept; a waiting one is kept however old it is.
	old := record("webhook-old", notify.Waiting)
	old.UpdatedAt = time.Now().Add(-time.Hour)
	n.all[old.Key] = old
	for i := range keptSent {
		r := record(notify.Key(fmt.Sprint("webhook-n", i)), notify.Sent)
		n.all[r.Key] = r
	}
	got := keys()
	if len(got) != keptSent+2 || len(n.all) != len(got) || slices.Contains(got, "webhook-last") || !slices.Contains(got, "webhook-old") || !slices.Contains(got, "webhook-parked") {
		t.Errorf("%d are listed and %d kept of %d sent ones and two others", len(got), len(n.all), keptSent+2)
	}
}
