package handover_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/handover"
	"github.com/pgcourier/pgcourier/internal/secret"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/stored"
)

// requested is a canonical request with a delivery.
func requested(id, after string) string {
	return `{"project_id":"acme","request_id":"` + id + `","format":"sql","compression":"gzip","notify_email":"o@example.com","requested_by":"gw","deliver":{"ttl":"1h","max_downloads":2,"after":"` + after + `"}}`
}

func TestALinkIsIssuedOnceItsRuleIsMet(t *testing.T) {
	t.Parallel()
	b := setup(t)
	completed := b.export("r1", requested("r1", "completed"), random(t, 10))
	verified := b.export("r2", requested("r2", "verified"), random(t, 10))
	damaged := b.export("r3", requested("r3", "verified"), random(t, 10))
	// A label that looks like it is none.
	b.export("r4", `{"project_id":"acme","metadata":{"deliver":"\"deliver\":{","after":"verified"}}`, random(t, 10))
	count := func(id export.ID) int {
		t.Helper()
		links, err := b.links.List(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if l.IssuedBy != "gw" || !l.OfRequest || l.MaxDownloads != 2 || l.NotifyEmail != "o@example.com" || l.ExpiresAt.Sub(l.IssuedAt) != time.Hour || l.Attempt != 1 {
				t.Errorf("link %+v", l)
			}
		}
		return len(links)
	}
	look := func() {
		t.Helper()
		if err := b.links.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	look()
	if count(completed) != 1 || count(verified) != 0 {
		t.Errorf("%d, %d links", count(completed), count(verified))
	}
	if err := b.ledger.NoteVerification(t.Context(), verified, false); err != nil {
		t.Fatal(err)
	}
	if err := b.ledger.NoteVerification(t.Context(), damaged, true); err != nil {
		t.Fatal(err)
	}
	look()
	look()
	if count(completed) != 1 || count(verified) != 1 || count(damaged) != 0 {
		t.Errorf("%d, %d, %d links", count(completed), count(verified), count(damaged))
	}
	// A crash between issuing and recording issues no second link.
	b.exec(`UPDATE pgcourier.requests SET delivered_at = NULL`)
	look()
	if count(completed) != 1 {
		t.Errorf("%d links", count(completed))
	}
	issued := 0
	for _, c := range b.changes {
		if c.Issued {
			issued++
		}
	}
	if issued != 2 {
		t.Errorf("announced %+v", b.changes)
	}
}

// The records of links go with a ledger that is lost. A recovered request may have had a link that was
// used up or revoked, so it gets no other one.
func TestARecoveredRequestGetsNoLink(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ids := []export.ID{b.export("r1", requested("r1", "completed"), random(t, 10)), b.export("r2", requested("r2", "verified"), random(t, 10))}
	b.exec(`DELETE FROM pgcourier.requests`)
	out, faults, err := stored.New(destinations.NewReader(b.set, nil), config.Config{}).Recover(t.Context(), b.ledger)
	if err != nil || len(faults) > 0 || len(out.Recovered) != len(ids) {
		t.Fatal(out, faults, err)
	}
	for _, id := range ids {
		if err := b.ledger.NoteVerification(t.Context(), id, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.links.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if links, err := b.links.List(t.Context(), id); err != nil || len(links) > 0 {
			t.Errorf("%s: links %+v, %v", id, links, err)
		}
		b.issue(id, 0) // a person may issue one
	}
	if len(b.changes) > 0 {
		t.Errorf("announced %+v", b.changes)
	}
}

func TestTheEndOfALinkIsAnnouncedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.export("r1", `{}`, random(t, 10))
	revoked, _ := b.issue(id, 0)
	expired, _ := b.issue(id, 0)
	for range 2 {
		if l, err := b.links.Revoke(t.Context(), "acme", revoked.ID, "ann"); err != nil || l.RevokedBy != "ann" || l.State(time.Now()) != "revoked" {
			t.Fatal(l, err)
		}
	}
	if l, err := b.links.Revoke(t.Context(), "acme", revoked.ID, "bob"); err != nil || l.RevokedBy != "ann" {
		t.Errorf("revoked again by %s, %v", l.RevokedBy, err)
	}
	if _, err := b.links.Revoke(t.Context(), "globex", expired.ID, "ann"); !errors.Is(err, handover.ErrNoLink) {
		t.Errorf("another project revoked it: %v", err)
	}
	b.exec(`UPDATE pgcourier.links SET expires_at = issued_at WHERE link_id = $1`, expired.ID)
	for range 3 {
		if err := b.links.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var ends []string
	for _, c := range b.changes {
		if c.Ended {
			ends = append(ends, c.Link.State(time.Now()))
		}
	}
	if strings.Join(ends, " ") != "expired revoked" && strings.Join(ends, " ") != "revoked expired" {
		t.Errorf("ends %v", ends)
	}
}

// published are the subjects and bodies of events, in place of the broker. As there, an event is stored once.
type published struct {
	handlers.Publisher

	keys             map[string]bool
	subjects, bodies []string
	refuse           string // the subject's begin
	refused          int
	wait             func() // called from the second refusal on
}

func (s *published) Publish(_ context.Context, subject, key string, m *message.Message) error {
	if s.refuse != "" && strings.HasPrefix(subject, s.refuse) {
		if s.refused++; s.refused > 1 {
			s.wait()
		}
		return fmt.Errorf("broker %w: no answer", export.ErrUnavailable)
	}
	if s.keys[key] {
		return nil
	}
	s.keys[key] = true
	s.subjects, s.bodies = append(s.subjects, subject), append(s.bodies, string(m.Payload))
	return nil
}

// One change that cannot be published must not hold back the later changes, of whatever project.
func TestAChangeThatCannotBePublishedHoldsBackNoOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.export("r1", `{}`, random(t, 10))
	var log strings.Builder
	broker := &published{keys: map[string]bool{}}
	links := handover.NewLinks(handover.LinksConfig{
		Records: b.ledger, Keys: b.keys, PublicURL: b.server.URL, Read: handlers.ReadDelivery, Check: handlers.CheckLink,
		Announcer: &handlers.LinkEvents{Publisher: broker, Source: "test", KeyID: b.keys.ID()}, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	download := func(by string) {
		t.Helper()
		d, err := b.ledger.BeginDownload(t.Context(), handover.Download{ID: id, Client: []byte("c"), By: by})
		if err == nil {
			err = b.ledger.SentBytes(t.Context(), d, 10, 10, true)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	revoke := func(by string) {
		t.Helper()
		link, _ := b.issue(id, 0)
		if _, err := links.Revoke(t.Context(), "acme", link.ID, by); err != nil {
			t.Fatal(err)
		}
	}
	look := func(fails bool, want ...string) {
		t.Helper()
		broker.subjects, broker.bodies = nil, nil
		for rounds := 0; rounds < 2; rounds++ { // the end of a link is announced in the round after its issue
			err := links.Look(t.Context())
			if errors.Is(err, export.ErrLedgerUnavailable) || errors.Is(err, context.DeadlineExceeded) {
				rounds = -1 // the machine is busy
				continue
			}
			if (err != nil) != fails {
				t.Errorf("a round: %v", err)
			}
		}
		if !slices.Equal(broker.subjects, want) {
			t.Errorf("published %q, want %q", broker.subjects, want)
		}
	}
	issued, downloaded, revoked := "backup.link_issued.acme.r1", "backup.downloaded.acme.r1", "backup.link_revoked.acme.r1"

	long := "oidc:" + strings.Repeat("x", 250)
	download(long)
	download("ann")
	revoke(long)
	look(false, issued, downloaded, downloaded, revoked)
	for i, by := range []string{"", `xx…"`, `"ann"`, `xx…"`} {
		if !strings.Contains(broker.bodies[i], by) {
			t.Errorf("event %d: %s", i, broker.bodies[i])
		}
	}

	// An event without the name of the caller is not valid.
	revoke("")
	revoke("bob")
	look(false, issued, issued, revoked)
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), "request_id=r1") || !strings.Contains(log.String(), "revoked_by") {
		t.Errorf("the log has %d errors: %s", n, &log)
	}

	// The broker does not answer a refused publish. A round has no time for many of them.
	broker.refuse = "backup.downloaded."
	for range 3 {
		download("ann")
	}
	revoke("bob")
	round, end := context.WithCancel(t.Context())
	defer end()
	broker.wait = end
	broker.subjects = nil
	for !slices.Equal(broker.subjects, []string{issued, revoked}) {
		broker.refused = 0
		if err := links.Look(round); err == nil || round.Err() != nil || len(broker.subjects) > 2 {
			t.Fatalf("a round with refused events: %v, published %q", err, broker.subjects)
		}
	}
	broker.refuse = ""
	look(false, downloaded, downloaded, downloaded)
}

func TestBadLinksAreNotIssued(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.export("r1", `{}`, random(t, 10))
	for name, r := range map[string]handover.IssueRequest{
		"too short":  {ID: id, By: "ann", TTL: time.Second},
		"too long":   {ID: id, By: "ann", TTL: 400 * 24 * time.Hour},
		"negative":   {ID: id, By: "ann", MaxDownloads: -1},
		"no issuer":  {ID: id},
		"bad issuer": {ID: id, By: "a\x1b[31m"},
		"bad email":  {ID: id, By: "ann", NotifyEmail: "x"},
	} {
		if _, _, err := b.links.Issue(t.Context(), r); !errors.Is(err, handover.ErrBadLink) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, other := range []export.ID{{Project: "acme", Request: "none"}, {Project: "globex", Request: "r1"}} {
		if _, _, err := b.links.Issue(t.Context(), handover.IssueRequest{ID: other, By: "ann"}); !errors.Is(err, handover.ErrNoExport) {
			t.Errorf("%s: %v", other, err)
		}
	}
}

func TestLinkKeysRotate(t *testing.T) {
	t.Parallel()
	old, fresh := strings.Repeat("o", 32), strings.Repeat("f", 40)
	before, err := handover.OpenKeys(secret.String(old), "")
	if err != nil {
		t.Fatal(err)
	}
	after, err := handover.OpenKeys(secret.String(fresh+"\n"+old+"\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	l := handover.Link{ID: "lnk_" + strings.Repeat("a", 26), Project: "acme", Request: "r", Attempt: 1, ExpiresAt: time.Unix(1, 0)}
	if token, ok := after.TokenBy(before.ID(), l); !ok || token != before.Token(l) || after.Token(l) == token {
		t.Errorf("%s, %t", token, ok)
	}
	if _, ok := before.TokenBy(after.ID(), l); ok {
		t.Error("the old key makes tokens of the new one")
	}
	for _, bad := range []string{"short", " ", old + ",x"} {
		if _, err := handover.OpenKeys(secret.String(bad), ""); err == nil || strings.Contains(err.Error(), old) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
