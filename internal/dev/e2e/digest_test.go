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

// Twenty-five failures reach an operator as two mails: the first at once, the others in a digest,
// which is sent at the end of the window or of the notifier.
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
	mails := p.mails(2)
	if len(mails) != 2 {
		t.Fatalf("%d mails", len(mails))
	}
	l := open(t, mails[1])
	if l.header.Get("Subject") != "24 exports failed" {
		t.Errorf("subject %q", l.header.Get("Subject"))
	}
	text := open(t, mails[0]).text + l.text
	for _, id := range ids {
		if !strings.Contains(text, "request: "+id) {
			t.Errorf("no mail has request %s", id)
		}
	}
	p.awaitRecords(notify.Sent, failures)
}
