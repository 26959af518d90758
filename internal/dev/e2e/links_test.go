package e2e_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
)

// A command makes a link, a process with the role api serves it, and the stream holds its events,
// without the link itself.
func TestALinkIsMadeUsedAndRevoked(t *testing.T) {
	t.Parallel()
	p := setup(t)
	address := freeAddress(t)
	settings := []string{"API_ADDR=" + address, "PUBLIC_URL=http://" + address}
	p.start(append(settings, "ROLES=intake,worker,sweeper,api")...).awaitLog("HTTP API listens")
	p.request(events.Requested{ProjectID: "acme", RequestID: "r1", RequestedBy: "gw", Deliver: &events.Deliver{TTL: "1h", MaxDownloads: 2}})
	c := p.completed("acme", "r1")
	issued := p.event(events.TypeLinkIssued, "acme", "r1").LinkIssued
	if issued.IssuedBy != "gw" || issued.MaxDownloads != 2 || issued.Attempt != c.Attempt || !issued.ExpiresAt.After(issued.IssuedAt) {
		t.Errorf("issued %+v", issued)
	}
	stdout, stderr, code := p.cliWith(settings, "link", "create", "acme/r1", "--ttl", "2h", "--max-downloads", "1", "--output", "json")
	var made struct {
		LinkID string `json:"link_id"`
		URL    string `json:"url"`
	}
	if err := json.Unmarshal([]byte(stdout), &made); err != nil || code != 0 {
		t.Fatalf("link create: %d, %v, %s", code, err, stderr)
	}
	fetch := func(method, url string) (int, []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, b
	}
	if status, page := fetch("GET", made.URL); status != 200 || !strings.Contains(string(page), c.SHA256) {
		t.Errorf("page: %d, %s", status, page)
	}
	if status, file := fetch("POST", made.URL); status != 200 || int64(len(file)) != c.StoredBytes {
		t.Errorf("file: %d, %d bytes", status, len(file))
	}
	if status, _ := fetch("POST", made.URL); status != 404 {
		t.Errorf("a second time: %d", status)
	}
	d := p.event(events.TypeDownloaded, "acme", "r1").Downloaded
	if d.LinkID != made.LinkID || d.Bytes != c.StoredBytes || !d.Whole || d.Address != "127.0.0.1" {
		t.Errorf("downloaded %+v", d)
	}
	listed, stderr, code := p.cliWith(settings, "link", "list", "acme/r1")
	if code != 0 || !strings.Contains(listed, made.LinkID) || !strings.Contains(listed, issued.LinkID) || !strings.Contains(listed, "1 of 1") {
		t.Errorf("link list: %d, %s\n%s", code, stderr, listed)
	}
	if _, stderr, code := p.cliWith(settings, "link", "revoke", issued.LinkID, "--project", "globex"); code != 3 {
		t.Errorf("revoked for another project: %d, %s", code, stderr)
	}
	if _, stderr, code := p.cliWith(settings, "link", "revoke", issued.LinkID, "--project", "acme"); code != 0 {
		t.Errorf("link revoke: %d, %s", code, stderr)
	}
	if r := p.event(events.TypeLinkRevoked, "acme", "r1").LinkRevoked; r.LinkID != issued.LinkID || r.Downloads != 0 {
		t.Errorf("revoked %+v", r)
	}
	// No stream and no log holds a usable link.
	token := made.URL[strings.LastIndex(made.URL, "/")+1:]
	_, mac, _ := strings.Cut(token, ".")
	for _, w := range p.workers {
		if strings.Contains(w.logs.String(), mac) {
			t.Error("a log holds a token")
		}
	}
}

// A stream without the subjects of links, as an earlier build leaves it, accepts none of their
// events. The ledger keeps them until the stream accepts them.
func TestEventsOfLinksWaitForTheirStream(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.start()
	p.completed("acme", p.request(events.Requested{ProjectID: "acme", RequestID: "r1"}))
	public := "PUBLIC_URL=http://backups.example.org"
	api := p.startAPI(public)
	p.change(events.StreamEvents, func(c *jetstream.StreamConfig) {
		c.Subjects = slices.DeleteFunc(slices.Clone(c.Subjects), func(s string) bool {
			return strings.HasPrefix(s, "backup.link_") || strings.HasPrefix(s, events.TypeDownloaded)
		})
	})
	stdout, stderr, code := p.cliWith([]string{public}, "link", "create", "acme/r1", "--output", "json")
	var made struct {
		LinkID string `json:"link_id"`
	}
	if err := json.Unmarshal([]byte(stdout), &made); err != nil || code != 0 {
		t.Fatalf("link create: %d, %v, %s", code, err, stderr)
	}
	api.awaitLog("links are not delivered or announced now, it is tried again")
	if _, stderr, code := p.cliWith([]string{public}, "link", "revoke", made.LinkID, "--project", "acme"); code != 0 {
		t.Fatalf("link revoke: %d, %s", code, stderr)
	}
	p.provision() // as a worker of this build does
	if issued := p.event(events.TypeLinkIssued, "acme", "r1").LinkIssued; issued.LinkID != made.LinkID {
		t.Errorf("issued %+v", issued)
	}
	if revoked := p.event(events.TypeLinkRevoked, "acme", "r1").LinkRevoked; revoked.LinkID != made.LinkID {
		t.Errorf("revoked %+v", revoked)
	}
}
