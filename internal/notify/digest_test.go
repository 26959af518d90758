package notify_test

import (
	"context"
	"errors"
	"fmt"
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

// digestDesk is a desk with a mail channel that takes digests.
type digestDesk struct {
	*desk
	digests [][]notify.Notification
	refuses error // each digest
}

func (d *digestDesk) SendDigest(_ context.Context, all []notify.Notification) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuses == nil {
		d.digests = append(d.digests, all)
	}
	return d.refuses
}

func (d *digestDesk) gatherer(ending <-chan struct{}) *notify.Gatherer {
	c := d.courier(policy, 3)
	c.Senders[notify.Email] = d
	return notify.NewGatherer(c, time.Minute, 4, ending)
}

// failures are notifications of failed exports to one address.
func failures(t *testing.T, d *digestDesk, first, n int, address string) (all []notify.Notification) {
	t.Helper()
	for i := first; i < first+n; i++ {
		m, err := events.Failed{
			RequestID: fmt.Sprintf("r%d", i), ProjectID: "acme", Attempts: 3, Code: codes.DumpTimeout, Message: "too slow",
			Request:    &events.Requested{ProjectID: "acme", RequestID: fmt.Sprintf("r%d", i), Format: "sql", Compression: "gzip", NotifyEmail: address},
			FinishedAt: time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC),
		}.Encode("test")
		if err != nil {
			t.Fatal(err)
		}
		e := notify.Event{Subject: m.Subject, Header: m.Header, Body: m.Body}
		of, err := e.Decode()
		if err != nil {
			t.Fatal(err)
		}
		d.queue = nil
		if err := (&notify.Dispatcher{Policy: policy, Records: d, Queue: d}).Dispatch(t.Context(), e, of); err != nil {
			t.Fatal(err)
		}
		all = append(all, d.queue[slices.IndexFunc(d.queue, func(n notify.Notification) bool { return n.Recipient == address })])
	}
	return all
}

// result is what Deliver returned, and when.
type result struct {
	done  bool
	pause time.Duration
	err   error
	at    time.Duration
}

// deliver delivers all at the same time and returns the results when every call has returned.
func deliver(t *testing.T, g *notify.Gatherer, all []notify.Notification) func() []result {
	t.Helper()
	begun, results := time.Now(), make([]result, len(all))
	var calls sync.WaitGroup
	for i, n := range all {
		calls.Go(func() {
			done, pause, err := g.Deliver(t.Context(), n)
			results[i] = result{done, pause, err, time.Since(begun)}
		})
	}
	return func() []result { calls.Wait(); return results }
}

func TestTwentyFiveFailuresAreTwoMails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &digestDesk{desk: newDesk()}
		g := d.gatherer(nil)
		all := failures(t, d, 0, 25, "op@example.org")
		results := deliver(t, g, all)
		synctest.Wait()
		if len(d.sent) != 1 || len(d.digests) != 0 {
			t.Fatalf("at once: %d mails, %d digests", len(d.sent), len(d.digests))
		}
		// Other mails do not wait.
		customer := failures(t, d, 100, 25, "a@example.com")
		for i, r := range deliver(t, g, customer)() {
			if !r.done || r.err != nil || r.at != 0 {
				t.Fatalf("customer %d: %+v", i, r)
			}
		}
		for i, r := range results() {
			if !r.done || r.err != nil || r.at != 0 && r.at != time.Minute {
				t.Errorf("%d: %+v", i, r)
			}
		}
		if len(d.sent) != 26 || len(d.digests) != 1 || len(d.digests[0]) != 24 {
			t.Fatalf("%d mails, %d digests", len(d.sent), len(d.digests))
		}
		for _, n := range all {
			if r := d.records[n.Key]; r.State != notify.Sent {
				t.Errorf("%s: %+v", n.Key, r)
			}
		}
		// What was sent is not sent again, and the digest began a window.
		if r := deliver(t, g, all[:3])(); !r[0].done || r[0].at != 0 || len(d.digests) != 1 {
			t.Errorf("again: %+v", r)
		}
		more := failures(t, d, 25, 1, "op@example.org")
		if r := deliver(t, g, more)(); !r[0].done || r[0].at == 0 || r[0].at > time.Minute {
			t.Errorf("one more: %+v", r)
		}
	})
}

func TestAFullDigestDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &digestDesk{desk: newDesk()}
		results := deliver(t, d.gatherer(nil), failures(t, d, 0, 1+notify.DigestMost, "op@example.org"))
		for i, r := range results() {
			if !r.done || r.at != 0 {
				t.Errorf("%d: %+v", i, r)
			}
		}
		if len(d.sent) != 1 || len(d.digests) != 1 || len(d.digests[0]) != notify.DigestMost {
			t.Errorf("%d mails, %d digests", len(d.sent), len(d.digests))
		}
	})
}

func TestTheEndOfANotifierSendsItsDigests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &digestDesk{desk: newDesk()}
		ending := make(chan struct{})
		results := deliver(t, d.gatherer(ending), failures(t, d, 0, 10, "op@example.org"))
		synctest.Wait()
		time.Sleep(time.Second)
		close(ending)
		for i, r := range results() {
			if !r.done || r.at > time.Second {
				t.Errorf("%d: %+v", i, r)
			}
		}
		if len(d.digests) != 1 || len(d.digests[0]) != 9 {
			t.Errorf("%d digests", len(d.digests))
		}
	})
}

func TestANotificationThatIsDeliveredTwiceIsOnceInADigest(t *testing.T) {
	t.Parallel()
	for name, refuses := range map[string]error{"a digest": nil, "mails, after a refused digest": &notify.PermanentError{Reason: "too large"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := &digestDesk{desk: newDesk(), refuses: refuses}
				g := d.gatherer(nil)
				deliver(t, g, failures(t, d, 0, 1, "op@example.org"))()
				two := failures(t, d, 1, 2, "op@example.org")
				for i, r := range deliver(t, g, append(two, two...))() {
					if !r.done || r.err != nil {
						t.Errorf("%d: %+v", i, r)
					}
				}
				if refuses == nil && (len(d.digests) != 1 || len(d.digests[0]) != 2) {
					t.Errorf("%d digests, the first not of 2 notifications", len(d.digests))
				}
				if refuses != nil && len(d.sent) != 3 {
					t.Errorf("%d mails for 3 notifications", len(d.sent))
				}
			})
		})
	}
}

func TestADigestThatFailsIsTriedAgainForEach(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		refuses error
		done    int // notifications that were sent alone instead
	}{
		"an outage":                  {errors.New("no answer"), 0},
		"a digest that is too large": {fmt.Errorf("552: %w", &notify.PermanentError{Reason: "too large"}), 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := &digestDesk{desk: newDesk(), refuses: c.refuses}
				g := d.gatherer(nil)
				all := failures(t, d, 0, 5, "op@example.org")
				var done int
				for _, r := range deliver(t, g, all)() {
					if r.err != nil || !r.done && r.pause != time.Minute {
						t.Errorf("result %+v", r)
					}
					if r.done {
						done++
					}
				}
				if done != 1+c.done || len(d.sent) != 1+c.done {
					t.Errorf("%d are done, %d were sent alone", done, len(d.sent))
				}
				d.refuses = nil
				time.Sleep(time.Minute)
				for _, r := range deliver(t, g, all)() {
					if !r.done || r.err != nil {
						t.Errorf("at the next try: %+v", r)
					}
				}
			})
		})
	}
}

func TestADigestTellsTheFaultsFirst(t *testing.T) {
	t.Parallel()
	_, completed := outcome(t, true, "")
	_, failed := outcome(t, false, "")
	damaged := events.Event{VerificationFailed: &events.VerificationFailed{ProjectID: "acme", RequestID: "r1", Code: codes.ExportDamaged}}
	d := notify.SummarizeAll([]events.Event{completed, failed, damaged, failed})
	if d.Headline != "1 export is damaged, 2 exports failed, 1 export completed" || d.Completed {
		t.Errorf("headline %q", d.Headline)
	}
	if !strings.Contains(d.Events[3].Headline, "completed") || len(d.Events[0].Brief()) == 0 {
		t.Errorf("events %+v", d.Events)
	}
	if d := notify.SummarizeAll([]events.Event{completed, completed}); !d.Completed || d.Headline != "2 exports completed" {
		t.Errorf("headline %q", d.Headline)
	}
}
