package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
)

const oldStates = "BACKUP_NOTIFICATION_STATES"

func TestStatesAreWrittenUnderTheirRevision(t *testing.T) {
	t.Parallel()
	js := stream(t, fresh(t))
	s := broker.NewStates(js)
	nothing := func(string, []byte) error { return errors.New("nothing is there") }
	if _, _, err := s.Get(t.Context(), "a"); !errors.Is(err, broker.ErrNoState) {
		t.Errorf("without a bucket: %v", err)
	}
	if next, err := s.Between(t.Context(), 1, 9, nothing); next != 1 || err != nil {
		t.Errorf("read without a bucket: %d, %v", next, err)
	}
	span := func(first, next uint64) {
		t.Helper()
		if gotFirst, gotNext, err := s.Span(t.Context()); gotFirst != first || gotNext != next || err != nil {
			t.Errorf("the states are from %d to %d, %v; want %d to %d", gotFirst, gotNext, err, first, next)
		}
	}
	span(1, 1)
	must(t, s.All(t.Context(), nothing))
	must(t, broker.Provision(t.Context(), js, broker.Topology{Notifications: []string{"email"}}))
	if _, _, err := s.Get(t.Context(), "a"); !errors.Is(err, broker.ErrNoState) {
		t.Errorf("in an empty bucket: %v", err)
	}
	must(t, s.All(t.Context(), nothing))
	span(1, 1)
	for _, k := range []string{"a", "b", "c"} {
		must(t, s.Set(t.Context(), k, []byte(k+"1"), 0))
		if err := s.Set(t.Context(), k, []byte("x"), 0); !errors.Is(err, broker.ErrStateChanged) {
			t.Errorf("made twice: %v", err)
		}
	}
	body, revision, err := s.Get(t.Context(), "a")
	if err != nil || string(body) != "a1" {
		t.Errorf("read %q, %v", body, err)
	}
	must(t, s.Set(t.Context(), "a", []byte("a2"), revision))
	if err := s.Set(t.Context(), "a", []byte("a3"), revision); !errors.Is(err, broker.ErrStateChanged) {
		t.Errorf("written under an old revision: %v", err)
	}
	var all []string
	must(t, s.All(t.Context(), func(key string, body []byte) error {
		all = append(all, key+"="+string(body))
		return nil
	}))
	if want := []string{"b=b1", "c=c1", "a=a2"}; !slices.Equal(all, want) {
		t.Errorf("all are %q, want %q", all, want)
	}
	span(2, 5)
	var some []string
	if next, err := s.Between(t.Context(), 1, 4, func(key string, _ []byte) error { some = append(some, key); return nil }); err != nil || next != 4 || !slices.Equal(some, []string{"b", "c"}) {
		t.Errorf("before the fourth write: %q, %d, %v", some, next, err)
	}
	since := func(from uint64) (next uint64, got []string) {
		t.Helper()
		next, err := s.Between(t.Context(), from, math.MaxUint64, func(key string, body []byte) error {
			got = append(got, key+"="+string(body))
			return nil
		})
		must(t, err)
		return next, got
	}
	next, got := since(0)
	if !slices.Equal(got, all) {
		t.Errorf("since the start %q, want %q", got, all)
	}
	_, revision, err = s.Get(t.Context(), "b")
	must(t, err)
	must(t, s.Set(t.Context(), "b", []byte("b2"), revision))
	if next, got = since(next); !slices.Equal(got, []string{"b=b2"}) {
		t.Errorf("the change is %q", got)
	}
	if _, got = since(next); len(got) != 0 {
		t.Errorf("without a change %q", got)
	}
	stop := errors.New("enough")
	if err := s.All(t.Context(), func(string, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("called off: %v", err)
	}
}

// With a limit of bytes the states of sent notifications must not hold up the next notification, and the result
// of one that was sent must not be refused. A bucket of an earlier build refused both.
func TestAFullBucketDropsTheOldestStates(t *testing.T) {
	t.Parallel()
	js := stream(t, fresh(t))
	topology := broker.Topology{Notifications: []string{"email"}, MaxBytes: 1 << 20}
	must(t, broker.Provision(t.Context(), js, topology))
	made, err := js.Stream(t.Context(), events.StreamNotificationStates)
	must(t, err)
	earlier := made.CachedInfo().Config
	earlier.Discard = jetstream.DiscardNew
	_, err = js.UpdateStream(t.Context(), earlier)
	must(t, err)
	body := bytes.Repeat([]byte("x"), 100_000)
	s := broker.NewStates(js)
	for i := range 10 {
		must(t, s.Set(t.Context(), fmt.Sprint("k", i), body, 0))
	}
	if err := s.Set(t.Context(), "next", body, 0); err == nil {
		t.Error("the bucket of an earlier build is not full")
	}
	must(t, broker.Provision(t.Context(), js, topology))
	must(t, s.Set(t.Context(), "next", body, 0))
	_, revision, err := s.Get(t.Context(), "next")
	must(t, err)
	must(t, s.Set(t.Context(), "next", bytes.Repeat([]byte("y"), 200_000), revision))
	if got, _, err := s.Get(t.Context(), "next"); err != nil || len(got) != 200_000 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, _, err := s.Get(t.Context(), "k0"); !errors.Is(err, broker.ErrNoState) {
		t.Errorf("the oldest: %v", err)
	}
}

// olderBuild sets a broker up as a build without the bucket did, with n states "k0=v0", "k1=v1", …
func olderBuild(t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: oldStates, Subjects: []string{"backup_notification_state.*"}, MaxAge: 90 * 24 * time.Hour,
		MaxMsgsPerSubject: 1, Storage: jetstream.FileStorage, Replicas: 1,
	})
	must(t, err)
	for i := range n {
		must(t, writeAsOlderBuild(t, js, fmt.Sprint("k", i), fmt.Sprint("v", i), 0))
	}
}

// writeAsOlderBuild writes a state as a build without the bucket does.
func writeAsOlderBuild(t *testing.T, js jetstream.JetStream, key, body string, revision uint64) error {
	t.Helper()
	_, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "backup_notification_state." + key, Data: []byte(body)},
		jetstream.WithExpectLastSequencePerSubject(revision))
	return err
}

// allStates returns what is kept as "key=body", the longest unchanged first.
func allStates(t *testing.T, s *broker.States) []string {
	t.Helper()
	var all []string
	must(t, s.All(t.Context(), func(key string, body []byte) error {
		all = append(all, key+"="+string(body))
		return nil
	}))
	return all
}

func hasStream(t *testing.T, js jetstream.JetStream, name string) bool {
	t.Helper()
	_, err := js.Stream(t.Context(), name)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func wantStates(n int) []string {
	var want []string
	for i := range n {
		want = append(want, fmt.Sprintf("k%d=v%d", i, i))
	}
	return want
}

func TestStatesOfAnEarlierBuildMoveIntoTheBucket(t *testing.T) {
	t.Parallel()
	js := stream(t, fresh(t))
	olderBuild(t, js, 50)
	topology := broker.Topology{Notifications: []string{"email"}}
	must(t, broker.Provision(t.Context(), js, topology))
	s := broker.NewStates(js)
	if got := allStates(t, s); !slices.Equal(got, wantStates(50)) {
		t.Errorf("moved: %q", got)
	}
	if hasStream(t, js, oldStates) {
		t.Error("the old stream is still there")
	}
	body, revision, err := s.Get(t.Context(), "k7")
	must(t, err)
	must(t, s.Set(t.Context(), "k7", []byte("sent"), revision))
	if err := s.Set(t.Context(), "k7", []byte("waiting"), revision); string(body) != "v7" || !errors.Is(err, broker.ErrStateChanged) {
		t.Errorf("%q; an old revision: %v", body, err)
	}
	differences, err := broker.Inspect(t.Context(), js, topology)
	if err != nil || len(differences) > 0 {
		t.Errorf("left to do: %v, %v", differences, err)
	}
	kv, err := js.KeyValue(t.Context(), events.BucketNotificationStates)
	must(t, err)
	if e, err := kv.Get(t.Context(), "k7"); err != nil || string(e.Value()) != "sent" {
		t.Errorf("as others read the bucket: %v, %v", e, err)
	}
}

// cable is a connection that breaks at the request after the first left ones.
type cable struct {
	net.Conn

	left int
}

// Dial implements nats.CustomDialer.
func (c *cable) Dial(network, address string) (net.Conn, error) {
	var err error
	c.Conn, err = net.Dial(network, address)
	return c, err
}

func (c *cable) Write(b []byte) (int, error) {
	if c.left -= bytes.Count(b, []byte("PUB $")); c.left < 0 {
		_ = c.Conn.Close()
	}
	return c.Conn.Write(b)
}

// The process is disconnected after each request of the move, in turn. Until the move has ended no
// state can be read as absent: a notifier would send its notification again.
func TestAMoveOfStatesThatIsCutOffLosesNothingAndGoesOn(t *testing.T) {
	t.Parallel()
	const states = 5
	topology := broker.Topology{Notifications: []string{"email"}}
	cut, refused := 0, 0
	for after := 0; ; after++ {
		nc := fresh(t)
		js := stream(t, nc)
		must(t, broker.Provision(t.Context(), js, broker.Topology{}))
		olderBuild(t, js, states)
		cable := &cable{left: after}
		dying, err := nats.Connect(nc.ConnectedUrl(), nats.SetCustomDialer(cable), nats.NoReconnect(),
			nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		must(t, err)
		broken, err := jetstream.New(dying)
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		dying.SetClosedHandler(func(*nats.Conn) { cancel() })
		moved := broker.Provision(ctx, broken, topology)
		dying.Close()
		s := broker.NewStates(js)
		for i := range states {
			body, revision, err := s.Get(t.Context(), fmt.Sprint("k", i))
			switch {
			case errors.Is(err, broker.ErrStatesMove):
				refused++
				if err := s.Set(t.Context(), fmt.Sprint("k", i), []byte("x"), 0); !errors.Is(err, broker.ErrStatesMove) {
					t.Errorf("cut off after %d: written in mid-move: %v", after, err)
				}
			case err != nil || string(body) != fmt.Sprint("v", i):
				t.Fatalf("cut off after %d (%v): %q, %v", after, moved, body, err)
			case i == 0: // meanwhile the notifier continues, on either side
				must(t, s.Set(t.Context(), "k0", []byte("v0"), revision))
			}
		}
		must(t, broker.Provision(t.Context(), js, topology))
		got := allStates(t, broker.NewStates(js))
		slices.Sort(got)
		if !slices.Equal(got, wantStates(states)) || hasStream(t, js, oldStates) {
			t.Fatalf("cut off after %d: %q", after, got)
		}
		if moved == nil {
			break
		}
		cut++
	}
	if cut < 8 || refused == 0 {
		t.Errorf("cut off at %d places, %d reads were refused", cut, refused)
	}
}

// While a notifier waits for messages, which may be of an earlier build, both builds work on the
// old stream with each other's revisions.
func TestAnOlderNotifierBesideANewerOneSharesItsStates(t *testing.T) {
	t.Parallel()
	nc := fresh(t)
	js := stream(t, nc)
	topology := broker.Topology{Notifications: []string{"email"}}
	must(t, broker.Provision(t.Context(), js, topology))
	must(t, js.DeleteStream(t.Context(), events.StreamNotificationStates))
	olderBuild(t, js, 2)
	older, err := nats.Connect(nc.ConnectedUrl())
	must(t, err)
	defer older.Close()
	c, err := stream(t, older).Consumer(t.Context(), events.StreamOutcomes, events.ConsumerNotifier)
	must(t, err)
	_, err = c.Fetch(1, jetstream.FetchMaxWait(time.Minute))
	must(t, err)
	waits(t, js, true)
	must(t, broker.Provision(t.Context(), js, topology))
	if hasStream(t, js, events.StreamNotificationStates) {
		t.Fatal("moved beside a notifier that works")
	}
	s := broker.NewStates(js)
	_, revision, err := s.Get(t.Context(), "k0")
	must(t, err)
	must(t, writeAsOlderBuild(t, js, "k0", "sent by the older", revision))
	if err := s.Set(t.Context(), "k0", []byte("waiting"), revision); !errors.Is(err, broker.ErrStateChanged) {
		t.Errorf("written over what the older build recorded: %v", err)
	}
	must(t, s.Set(t.Context(), "new", []byte("sent by the newer"), 0))
	if err := writeAsOlderBuild(t, js, "new", "waiting", 0); err == nil {
		t.Error("the older build wrote over what the newer one recorded")
	}
	older.Close()
	waits(t, js, false)
	must(t, broker.Provision(t.Context(), js, topology))
	want := []string{"k1=v1", "k0=sent by the older", "new=sent by the newer"}
	if got := allStates(t, s); !slices.Equal(got, want) || hasStream(t, js, oldStates) {
		t.Errorf("after the older one has ended: %q", got)
	}
	// An older build that is started after the move makes its stream again. The stream is not used.
	olderBuild(t, js, 1)
	must(t, broker.Provision(t.Context(), js, topology))
	if got := allStates(t, broker.NewStates(js)); !slices.Equal(got, want) {
		t.Errorf("after it was started again: %q", got)
	}
}

// waits returns once a pull request of the notifier's consumer waits at the broker, or none.
func waits(t *testing.T, js jetstream.JetStream, want bool) {
	t.Helper()
	for {
		c, err := js.Consumer(t.Context(), events.StreamOutcomes, events.ConsumerNotifier)
		must(t, err)
		if c.CachedInfo().NumWaiting > 0 == want {
			return
		}
	}
}
