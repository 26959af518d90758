package events_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/pgcourier/pgcourier/events"
)

type awaited struct {
	outcome events.Outcome
	err     error
}

// await runs Await in a goroutine and returns once the server knows its subscription.
func (s *setup) await(ctx context.Context, t *testing.T, project, request string) <-chan awaited {
	t.Helper()
	before := s.srv.NumSubscriptions()
	out := make(chan awaited, 1)
	go func() {
		o, err := s.client.Await(ctx, project, request)
		out <- awaited{o, err}
	}()
	eventually(t, "Await subscribes", func() bool { return s.srv.NumSubscriptions() > before })
	return out
}

func (a awaited) check(t *testing.T, project, request string) {
	t.Helper()
	p, r := a.outcome.IDs()
	if a.err != nil || p != project || r != request {
		t.Errorf("got %+v, %v", a.outcome, a.err)
	}
}

func receive(t *testing.T, c <-chan awaited) awaited {
	t.Helper()
	select {
	case a := <-c:
		return a
	case <-time.After(timeout):
		t.Fatal("Await does not return")
		return awaited{}
	}
}

func TestAwait(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	publish(t, s.js, failed("acme", "other"))
	publish(t, s.js, failed("other", "r1"))

	coming := s.await(t.Context(), t, "acme", "r1")
	publish(t, s.js, failed("acme", "r1"))
	receive(t, coming).check(t, "acme", "r1")

	o, err := s.client.Await(t.Context(), "acme", "r1")
	awaited{o, err}.check(t, "acme", "r1")
	if n := s.nc.NumSubscriptions(); n != 1 { // the connection's own inbox
		t.Errorf("%d subscriptions are left", n)
	}
}

// An outcome that is announced but refused by the stream does not count.
func TestAwaitBelievesTheStreamOnly(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	heard, err := s.nc.SubscribeSync(events.FailedFilter)
	if err != nil {
		t.Fatal(err)
	}
	coming := s.await(ctx, t, "acme", "r1")
	forged := natsMsg(t, failed("acme", "r1"))
	forged.Header.Set(nats.ExpectedLastSeqHdr, "999")
	if reply, err := s.nc.RequestMsgWithContext(ctx, forged); err != nil || len(reply.Data) == 0 {
		t.Fatalf("the stream answers %v, %v", reply, err)
	}
	if _, err := heard.NextMsg(timeout); err != nil {
		t.Fatalf("subscribers do not receive the forged outcome: %v", err)
	}
	second := failed("acme", "r1")
	second.Message = "the truth"
	publish(t, s.js, second)
	a := receive(t, coming)
	if a.err != nil || a.outcome.Failed.Message != "the truth" {
		t.Errorf("got %+v, %v", a.outcome.Failed, a.err)
	}
}

// The announcement is lost while the client is disconnected; the outcome is found in the stream.
func TestAwaitSurvivesARestart(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	back := make(chan struct{})
	reconnected := make(chan struct{})
	s.nc = s.connect(t, nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(func(int) time.Duration { <-back; return time.Millisecond }),
		nats.ReconnectHandler(func(*nats.Conn) { close(reconnected) }))
	s.client = newClient(t, s.nc)
	coming := s.await(t.Context(), t, "acme", "r1")
	s.stop()
	s.start(t)
	publish(t, newJetStream(t, s.connect(t)), failed("acme", "r1"))
	if s.nc.IsConnected() {
		t.Error("the client was not disconnected")
	}
	close(back)
	receive(t, coming).check(t, "acme", "r1")
	<-reconnected
}

// The end of the context ends the wait and leaves nothing in the process or at the broker. The test
// is not parallel, because it counts goroutines.
func TestAwaitLeavesNothing(t *testing.T) {
	s := newSetup(t)
	if _, err := s.client.RequestBackup(t.Context(), events.Requested{ProjectID: "acme"}); err != nil {
		t.Fatal(err)
	}
	before := s.nc.NumSubscriptions()
	ignore := goleak.IgnoreCurrent()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	coming := s.await(ctx, t, "acme", "r1")
	cancel(cause)
	if a := receive(t, coming); !errors.Is(a.err, cause) {
		t.Errorf("got %v", a.err)
	}
	for e, err := range s.client.Watch(ctx, "", "") {
		if !errors.Is(err, cause) {
			t.Errorf("got %+v, %v", e, err)
		}
	}
	goleak.VerifyNone(t, ignore)
	if after := s.nc.NumSubscriptions(); after != before {
		t.Errorf("%d subscriptions before, %d after", before, after)
	}
	for name := range s.js.StreamNames(t.Context()).Name() {
		stream, err := s.js.Stream(t.Context(), name)
		if err != nil || stream.CachedInfo().State.Consumers != 0 {
			t.Errorf("stream %s has %d consumers, %v", name, stream.CachedInfo().State.Consumers, err)
		}
	}
}

func TestAwaitFails(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	for _, ids := range [][2]string{{"", "r1"}, {"acme", ""}, {"a.b", "r1"}, {"acme", "*"}, {">", "r1"}} {
		if _, err := s.client.Await(t.Context(), ids[0], ids[1]); !isInvalid(err) {
			t.Errorf("ids %q: %v", ids, err)
		}
	}
	if _, err := newClient(t, newBroker(t).connect(t)).Await(t.Context(), "acme", "r1"); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("without streams: %v", err)
	}
	coming := s.await(t.Context(), t, "acme", "r1")
	s.nc.Close()
	if a := receive(t, coming); !errors.Is(a.err, events.ErrUnavailable) {
		t.Errorf("closed during the wait: %v", a.err)
	}
	if _, err := s.client.Await(t.Context(), "acme", "r1"); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("closed before: %v", err)
	}
}

func isInvalid(err error) bool {
	_, ok := errors.AsType[*events.InvalidError](err)
	return ok
}

// describe writes an event in one word.
func describe(e events.Event) string {
	project, request := e.IDs()
	switch {
	case e.Started != nil:
		return fmt.Sprintf("started %d %s/%s", e.Started.Attempt, project, request)
	case e.Progress != nil:
		return fmt.Sprintf("progress %s/%s", project, request)
	case e.Failed != nil:
		return fmt.Sprintf("failed %s/%s", project, request)
	}
	return "?"
}

// tell publishes without an acknowledgement, into any stream that has the subject.
func (s *setup) tell(t *testing.T, m *nats.Msg) {
	t.Helper()
	if err := s.js.Conn().PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	if err := s.js.Conn().FlushTimeout(timeout); err != nil {
		t.Fatal(err)
	}
}

func TestWatchOneRequest(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	publish(t, s.js, started("acme", "r1", 1))
	publish(t, s.js, started("acme", "r1", 2))
	var got []string
	for e, err := range s.client.Watch(t.Context(), "acme", "r1") {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, describe(e)); len(got) == 1 {
			// Malformed, foreign and repeated messages are skipped.
			s.tell(t, &nats.Msg{Subject: "backup.progress.acme.r1", Data: []byte("{")})
			s.tell(t, &nats.Msg{Subject: "backup.other.acme.r1", Data: []byte("{}")})
			s.tell(t, natsMsg(t, progress("acme", "r2")))
			s.tell(t, natsMsg(t, started("acme", "r1", 2)))
			s.tell(t, natsMsg(t, progress("acme", "r1")))
			s.tell(t, natsMsg(t, started("acme", "r1", 3)))
			publish(t, s.js, failed("acme", "r1"))
		}
	}
	want := []string{"started 2 acme/r1", "progress acme/r1", "started 3 acme/r1", "failed acme/r1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	got = nil
	for e, err := range s.client.Watch(t.Context(), "acme", "r1") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, describe(e))
	}
	if want := []string{"started 3 acme/r1", "failed acme/r1"}; !slices.Equal(got, want) {
		t.Errorf("afterwards got %q, want %q", got, want)
	}
}

func TestWatchSeveral(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		project, request string
		want             []string
	}{
		"all":            {"", "", []string{"progress other/r1", "progress acme/r1", "failed other/r1", "failed acme/r1", "failed acme/r2"}},
		"one project":    {"acme", "", []string{"progress acme/r1", "failed acme/r1", "failed acme/r2"}},
		"one request id": {"", "r1", []string{"progress other/r1", "progress acme/r1", "failed other/r1", "failed acme/r1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			publish(t, s.js, failed("acme", "old"))
			before := s.srv.NumSubscriptions()
			seen := make(chan []string, 1)
			go func() {
				var got []string
				for e, err := range s.client.Watch(t.Context(), c.project, c.request) {
					if err != nil {
						got = append(got, err.Error())
					} else {
						got = append(got, describe(e))
					}
					if len(got) == len(c.want) {
						break
					}
				}
				seen <- got
			}()
			eventually(t, "Watch subscribes", func() bool { return s.srv.NumSubscriptions() > before })
			s.tell(t, natsMsg(t, progress("other", "r1")))
			s.tell(t, natsMsg(t, progress("acme", "r1")))
			publish(t, s.js, failed("other", "r1"))
			publish(t, s.js, failed("acme", "r1"))
			publish(t, s.js, failed("acme", "r2"))
			select {
			case got := <-seen:
				if !slices.Equal(got, c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
			case <-time.After(timeout):
				t.Fatal("Watch does not yield all")
			}
			eventually(t, "Watch unsubscribes", func() bool { return s.nc.NumSubscriptions() <= 1 })
		})
	}
	s := newSetup(t)
	for _, err := range s.client.Watch(t.Context(), "a.b", "") {
		if !isInvalid(err) {
			t.Errorf("a malformed project: %v", err)
		}
	}
}
