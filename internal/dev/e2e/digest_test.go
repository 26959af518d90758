package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/notify"
)

// Of twenty-five failures an operator gets the first at once and the others in a digest, which is
// sent at the end of the window or of the notifier.
func TestFailuresAtOnceAreADigest(t *testing.T) {
	t.Parallel()
	p := setupPost(t)
	n := p.notifier("NOTIFY_DIGEST=1h")
	p.start("ROLES=intake,worker,sweeper")
	const failures = 25
	var ids []string
	for i := range failures {
		ids = append(ids, p.request(events.Requested{ProjectID: fmt.Sprintf("nobody%d", i)}))
	}
	for i, id := range ids {
		p.failed(fmt.Sprintf("nobody%d", i), id, codes.ProjectNotFound, 1)
	}
	p.awaitRecords(notify.Sent, 1)
	eventually(t, "24 mails that wait", func() bool {
		c, err := p.js.Consumer(t.Context(), events.StreamNotifications, broker.NotificationConsumer("email"))
		return err == nil && c.CachedInfo().NumAckPending == failures-1 && c.CachedInfo().NumPending == 0
	})
	if mails := p.smtp.Mails(); len(mails) != 1 {
		t.Fatalf("%d mails before the end of the window", len(mails))
	}
	n.term()
	n.await()
	p.mails(2)
	p.notifier("NOTIFY_DIGEST=0") // for a delivery that had not reached the digest when the first one ended
	p.awaitRecords(notify.Sent, failures)
	seen, digests := make(map[string]int), 0
	for i, m := range p.smtp.Mails() {
		l, in := open(t, m), 0
		for _, id := range ids {
			if strings.Contains(l.text, "request: "+id) {
				seen[id]++
				in++
			}
		}
		if in == 1 { // the first one, or one that had not reached the digest
			continue
		}
		digests++
		if want := fmt.Sprintf("%d exports failed", in); i == 0 || in == 0 || l.header.Get("Subject") != want {
			t.Errorf("mail %d with %d requests has the subject %q, want %q", i+1, in, l.header.Get("Subject"), want)
		}
	}
	if digests == 0 {
		t.Errorf("none of %d mails is a digest", len(p.smtp.Mails()))
	}
	for _, id := range ids {
		if seen[id] != 1 {
			t.Errorf("request %s is in %d mails", id, seen[id])
		}
	}
}
