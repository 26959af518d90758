package notify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/notify"
)

// desk holds records and a queue in memory, and a channel with a configured result.
type desk struct {
	mu      sync.Mutex
	records map[notify.Key]notify.Record
	at      map[notify.Key]uint64
	queue   []notify.Notification
	sent    []notify.Notification
	answers []error // of the next sends; then nil
	broken  int     // so many writes fail
	before  func()  // each write
}

func newDesk() *desk {
	return &desk{records: map[notify.Key]notify.Record{}, at: map[notify.Key]uint64{}}
}

var errBroker = errors.New("the broker is away")

func (d *desk) Get(_ context.Context, key notify.Key) (notify.Record, uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, ok := d.records[key]
	if !ok {
		return r, 0, notify.ErrNotFound
	}
	return r, d.at[key], nil
}

func (d *desk) Put(_ context.Context, r notify.Record, revision uint64) error {
	if d.before != nil {
		d.before()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken > 0 {
		d.broken--
		return errBroker
	}
	if d.at[r.Key] != revision {
		return notify.ErrConflict
	}
	d.records[r.Key] = r
	d.at[r.Key]++
	return nil
}

func (d *desk) Enqueue(_ context.Context, n notify.Notification) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.ContainsFunc(d.queue, func(q notify.Notification) bool { return q.Key == n.Key }) {
		d.queue = append(d.queue, n)
	}
	return nil
}

func (d *desk) Send(_ context.Context, n notify.Notification) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.answers) > 0 {
		err := d.answers[0]
		d.answers = d.answers[1:]
		if err != nil {
			return err
		}
	}
	d.sent = append(d.sent, n)
	return nil
}

func (d *desk) courier(p notify.Policy, tries int) *notify.Courier {
	return notify.NewCourier(notify.CourierConfig{
		Senders: map[notify.Channel]notify.Sender{notify.Email: d, notify.Webhook: d}, Policy: p, Records: d,
		Pause: time.Minute, Tries: tries, Log: slog.New(slog.DiscardHandler),
	})
}

var policy = notify.Policy{
	Channels: notify.Channels(), Domains: []string{"example.com"}, Operators: []string{"op@example.org"}, Chat: "42",
}

// outcome is a failure, or a completion, of a request that names an address.
func outcome(t *testing.T, completed bool, address string) (notify.Event, events.Event) {
	t.Helper()
	at := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	request := &events.Requested{ProjectID: "acme", RequestID: "r1", Format: "sql", Compression: "gzip", NotifyEmail: address}
	m, err := events.Failed{
		RequestID: "r1", ProjectID: "acme", Attempts: 3, Code: codes.DumpTimeout, Message: "too slow", Request: request, FinishedAt: at,
	}.Encode("test")
	if completed {
		m, err = events.Completed{
			RequestID: "r1", ProjectID: "acme", Attempt: 1, Format: "sql", Compression: "gzip", Encryption: "none", Schemas: []string{"a"},
			SizeBytes: 10, StoredBytes: 5, SHA256: strings.Repeat("a", 64), Storage: []events.Location{{URI: "file:acme/r1.1.sql.gz"}},
			ServerVersion: "17", PgDumpVersion: "17", StartedAt: at, FinishedAt: at, Request: request,
		}.Encode("test")
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := events.DecodeEvent(m)
	if err != nil {
		t.Fatal(err)
	}
	return notify.Event{Subject: m.Subject, Header: m.Header, Body: m.Body}, out
}

func dispatch(t *testing.T, d *desk, p notify.Policy, completed bool, address string) []notify.Notification {
	t.Helper()
	e, out := outcome(t, completed, address)
	dispatcher := &notify.Dispatcher{Policy: p, Records: d, Queue: d}
	for range 2 { // a second time changes nothing
		if err := dispatcher.Dispatch(t.Context(), e, out); err != nil {
			t.Fatal(err)
		}
	}
	return d.queue
}

func TestRecipientsOfEachEvent(t *testing.T) {
	t.Parallel()
	all := policy
	all.Completed = true
	for _, c := range []struct {
		name      string
		policy    notify.Policy
		completed bool
		address   string
		want      []string
	}{
		{"a failure", policy, false, "a@example.com", []string{"email a@example.com", "email op@example.org", "telegram 42", "webhook operator"}},
		{"a completion", policy, true, "a@example.com", []string{"email a@example.com", "webhook operator"}},
		{"a completion that is reported to operators", all, true, "", []string{"email op@example.org", "telegram 42", "webhook operator"}},
		{"a failure of the operator's own request", policy, false, "op@example.org", []string{"email op@example.org", "telegram 42", "webhook operator"}},
		{"channels that are not set up", notify.Policy{Channels: []notify.Channel{notify.Webhook}, Operators: policy.Operators, Chat: "42"}, false, "a@example.com", []string{"webhook operator"}},
	} {
		var got []string
		d := newDesk()
		for _, n := range dispatch(t, d, c.policy, c.completed, c.address) {
			got = append(got, string(n.Channel)+" "+n.Recipient)
			if r := d.records[n.Key]; r.State != notify.Waiting || r.ProjectID != "acme" || r.RequestID != "r1" || !events.ValidRequest(string(n.Key)) {
				t.Errorf("%s: record is %+v", c.name, r)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: reported %q, want %q", c.name, got, c.want)
		}
	}
}

func TestDamageAndComingDeletionsHaveRecipientsAndWords(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	damaged, err := events.VerificationFailed{
		RequestID: "r1", ProjectID: "acme", Attempt: 1, Destination: "s3", Code: codes.ExportDamaged, Message: "another hash",
		SHA256: strings.Repeat("a", 64), StartedAt: at, FinishedAt: at,
	}.Encode("test")
	if err != nil {
		t.Fatal(err)
	}
	expiring, err := events.Expiring{
		RequestID: "r1", ProjectID: "acme", Reason: "older than 90 days", WarnedAt: at, ExpiresAt: at.Add(time.Hour), CompletedAt: at,
		StoredBytes: 2048, Copies: []events.StoredCopy{{Destination: "s3", URI: "s3://b/acme/r1.1.sql"}},
	}.Encode("test")
	if err != nil {
		t.Fatal(err)
	}
	told := policy
	told.Expiring = true
	for _, c := range []struct {
		name     string
		policy   notify.Policy
		m        events.Message
		want     []string
		headline string
		command  string
	}{
		{"damage", policy, damaged, []string{"email op@example.org", "telegram 42", "webhook operator"}, "Export of acme is damaged (export_damaged)", "pgcourier verify acme/r1"},
		{"a coming deletion", policy, expiring, []string{"webhook operator"}, "Export of acme will be deleted (2.0 KiB)", "pgcourier download acme/r1"},
		{"a coming deletion that is reported to operators", told, expiring, []string{"email op@example.org", "telegram 42", "webhook operator"}, "Export of acme will be deleted (2.0 KiB)", "pgcourier download acme/r1"},
	} {
		e := notify.Event{Subject: c.m.Subject, Header: c.m.Header, Body: c.m.Body}
		of, err := e.Decode()
		if err != nil {
			t.Fatal(err)
		}
		d := newDesk()
		if err := (&notify.Dispatcher{Policy: c.policy, Records: d, Queue: d}).Dispatch(t.Context(), e, of); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range d.queue {
			got = append(got, string(n.Channel)+" "+n.Recipient)
			if r := d.records[n.Key]; r.ProjectID != "acme" || r.RequestID != "r1" {
				t.Errorf("%s: record is %+v", c.name, r)
			}
		}
		if s := notify.Summarize(of); !slices.Equal(got, c.want) || s.Headline != c.headline || s.Commands[0] != c.command || s.Next == "" {
			t.Errorf("%s: reported %q, summary %+v", c.name, got, s)
		}
	}
}

func TestASentNotificationIsNotSentAgain(t *testing.T) {
	t.Parallel()
	d := newDesk()
	n := dispatch(t, d, policy, true, "a@example.com")[0]
	d.broken = 2 // its record cannot be written at first
	courier := d.courier(policy, 3)
	for range 3 {
		done, _, err := courier.Deliver(t.Context(), n)
		if !done || err != nil {
			t.Fatalf("delivered: %t, %v", done, err)
		}
	}
	if len(d.sent) != 1 || d.records[n.Key].State != notify.Sent {
		t.Errorf("sent %d times, the record is %+v", len(d.sent), d.records[n.Key])
	}
	e, out := outcome(t, true, "a@example.com")
	dispatcher := &notify.Dispatcher{Policy: policy, Records: d, Queue: d}
	d.queue = nil
	if err := dispatcher.Dispatch(t.Context(), e, out); err != nil || slices.ContainsFunc(d.queue, func(q notify.Notification) bool { return q.Key == n.Key }) {
		t.Errorf("queued again: %v, %v", d.queue, err)
	}
	if _, err := dispatcher.Replay(t.Context(), n.Key, e); !errors.Is(err, notify.ErrSent) {
		t.Errorf("replayed: %v", err)
	}
	if _, err := dispatcher.Replay(t.Context(), "email-other", e); !errors.Is(err, notify.ErrNotFound) {
		t.Errorf("replay of nothing: %v", err)
	}
}

// While its record cannot be written a sent notification holds a slot of its channel, and after a restart it is
// sent again: an operator must see why.
func TestAResultThatCannotBeRecordedIsLogged(t *testing.T) {
	t.Parallel()
	for broken, want := range map[int]int{3: 0, 4: 1, 40: 4} { // at the 4th, 8th, 16th and 32nd failure
		synctest.Test(t, func(t *testing.T) {
			d := newDesk()
			n := dispatch(t, d, policy, true, "a@example.com")[0]
			var log bytes.Buffer
			courier := d.courier(policy, 3)
			courier.Log = slog.New(slog.NewTextHandler(&log, nil))
			d.broken = broken
			if done, _, err := courier.Deliver(t.Context(), n); !done || err != nil || d.records[n.Key].State != notify.Sent {
				t.Errorf("delivered: %t, %v, %+v", done, err, d.records[n.Key])
			}
			if got := strings.Count(log.String(), "level=WARN"); got != want || got > 0 && (!strings.Contains(log.String(), "notification="+string(n.Key)) || !strings.Contains(log.String(), errBroker.Error())) {
				t.Errorf("%d failures: %d warnings, want %d: %s", broken, got, want, &log)
			}
		})
	}
}

func TestTriesGrowApartAndEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		n := dispatch(t, d, policy, true, "a@example.com")[0]
		c := d.courier(policy, 12)
		fault := errors.New("no\r\nanswer")
		var pauses []time.Duration
		for {
			d.answers = []error{fault}
			done, pause, err := c.Deliver(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			if done {
				break
			}
			pauses = append(pauses, pause)
			// Nothing is tried before its time.
			time.Sleep(pause / 2)
			if done, rest, err := c.Deliver(t.Context(), n); done || rest != pause-pause/2 || err != nil || len(d.answers) > 0 {
				t.Errorf("too soon: %t, %s, %v", done, rest, err)
			}
			time.Sleep(pause - pause/2)
		}
		var minutes []float64
		for _, pause := range pauses {
			minutes = append(minutes, pause.Minutes())
		}
		if !slices.Equal(minutes, []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 720}) {
			t.Errorf("pauses are %v", pauses)
		}
		if r := d.records[n.Key]; r.State != notify.Parked || r.Tries != 12 || r.Cause != "no  answer" {
			t.Errorf("the record is %+v", r)
		}
		// A replay begins again, and twice is the same as once.
		e, _ := outcome(t, true, "a@example.com")
		dispatcher := &notify.Dispatcher{Policy: policy, Records: d, Queue: d}
		d.queue = nil
		for range 2 {
			if r, err := dispatcher.Replay(t.Context(), n.Key, e); err != nil || r.State != notify.Waiting || r.Tries != 0 {
				t.Errorf("replayed: %+v, %v", r, err)
			}
		}
		if done, _, err := c.Deliver(t.Context(), n); !done || err != nil || len(d.queue) != 1 || len(d.sent) != 1 {
			t.Errorf("after the replay: %t, %v, queued %d, sent %d", done, err, len(d.queue), len(d.sent))
		}
	})
}

func TestRetryAfterIsObeyed(t *testing.T) {
	t.Parallel()
	for asked, want := range map[time.Duration]time.Duration{time.Second: time.Minute, time.Hour: time.Hour, 1000 * time.Hour: 24 * time.Hour} {
		d := newDesk()
		n := dispatch(t, d, policy, true, "a@example.com")[0]
		d.answers = []error{fmt.Errorf("wrapped: %w", &notify.DelayError{After: asked, Err: errors.New("busy")})}
		done, pause, err := d.courier(policy, 3).Deliver(t.Context(), n)
		if done || pause != want || err != nil {
			t.Errorf("asked for %s: %t, %s, %v", asked, done, pause, err)
		}
	}
}

func TestAPermanentRefusalIsParkedAtOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		address string
		policy  notify.Policy
		answer  error
	}{
		"a refusal":                 {"a@example.com", policy, &notify.PermanentError{Reason: "no such user"}},
		"another domain":            {"a@example.net", policy, nil},
		"a subdomain":               {"a@x.example.com", policy, nil},
		"no domain permitted":       {"a@example.com", notify.Policy{Channels: policy.Channels}, nil},
		"a channel that is not set": {"a@example.com", policy, nil},
	} {
		d := newDesk()
		n := dispatch(t, d, c.policy, true, c.address)[0]
		d.answers = []error{c.answer}
		courier := d.courier(c.policy, 3)
		if name == "a channel that is not set" {
			courier = notify.NewCourier(notify.CourierConfig{Policy: c.policy, Records: d, Log: slog.New(slog.DiscardHandler)})
		}
		done, _, err := courier.Deliver(t.Context(), n)
		if r := d.records[n.Key]; !done || err != nil || r.State != notify.Parked || r.Cause == "" || len(d.sent) != 0 {
			t.Errorf("%s: %t, %v, %+v, sent %d", name, done, err, r, len(d.sent))
		}
	}
	d := newDesk()
	n := dispatch(t, d, policy, true, "A@EXAMPLE.COM")[0]
	if done, _, err := d.courier(policy, 3).Deliver(t.Context(), n); !done || err != nil || len(d.sent) != 1 {
		t.Errorf("a domain in capitals: %t, %v, sent %d", done, err, len(d.sent))
	}
}

// A try that ends with the process does not count. The record of a sent notification wins over
// a concurrent change.
func TestTheEndOfTheProcessCostsNoTry(t *testing.T) {
	t.Parallel()
	d := newDesk()
	n := dispatch(t, d, policy, true, "a@example.com")[0]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.answers = []error{context.Canceled}
	if done, _, err := d.courier(policy, 1).Deliver(ctx, n); done || !errors.Is(err, context.Canceled) || d.records[n.Key].Tries != 0 {
		t.Errorf("called off: %t, %v, %+v", done, err, d.records[n.Key])
	}
	var once sync.Once
	d.before = func() {
		once.Do(func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			r := d.records[n.Key]
			r.Tries = 7
			d.records[n.Key], d.at[n.Key] = r, d.at[n.Key]+1
		})
	}
	if done, _, err := d.courier(policy, 1).Deliver(t.Context(), n); !done || err != nil || d.records[n.Key].State != notify.Sent {
		t.Errorf("changed meanwhile: %t, %v, %+v", done, err, d.records[n.Key])
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"key":"email-aaaaaaaaaaaaaaaaaaaaaaaaaa","channel":"email","recipient":"a@b.c","event":{"subject":"s","body":"e30="}}`))
	f.Add([]byte(`{}`))
	f.Add([]byte("{\"key\":\"\\ud800\"}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := notify.Decode(b)
		if err != nil {
			return
		}
		again, err := n.Encode()
		if err != nil {
			t.Fatal(err)
		}
		m, err := notify.Decode(again)
		if err != nil || m.Key != n.Key || m.Channel != n.Channel || m.Recipient != n.Recipient || m.Event.Subject != n.Event.Subject ||
			!maps.Equal(m.Event.Header, n.Event.Header) || !bytes.Equal(m.Event.Body, n.Event.Body) {
			t.Errorf("decoded again: %+v, %v", m, err)
		}
		// The key is the digest of everything that identifies a notification: content, recipient,
		// channel.
		other := n
		other.Recipient += "x"
		if again, err = other.Encode(); err != nil {
			t.Fatal(err)
		}
		if _, err := notify.Decode(again); err == nil {
			t.Errorf("another recipient has the key %s", n.Key)
		}
	})
}

func TestAQueuedNotificationKeepsItsKey(t *testing.T) {
	t.Parallel()
	n := dispatch(t, newDesk(), policy, false, "a@example.com")[0]
	b, err := n.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := notify.Decode(b)
	if err != nil || string(got.Event.Body) != string(n.Event.Body) || got.Key != n.Key {
		t.Errorf("decoded %+v, %v", got, err)
	}
	if _, err := notify.Decode([]byte(strings.Replace(string(b), "a@example.com", "b@example.com", 1))); err == nil {
		t.Error("another recipient has the same key")
	}
}
