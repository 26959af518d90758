package api_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/api/access"
)

// box holds notifications.
type box struct {
	mu    sync.Mutex
	all   []api.Notice
	since time.Time // of List
	right error     // of a replay
}

func (b *box) List(context.Context) ([]api.Notice, time.Time, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.all), b.since, nil
}

func (b *box) at(key string) int {
	return slices.IndexFunc(b.all, func(n api.Notice) bool { return n.Key == key })
}

func (b *box) Find(_ context.Context, key string) (api.Notice, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.at(key); i >= 0 {
		return b.all[i], nil
	}
	return api.Notice{}, api.ErrNoNotice
}

func (b *box) Replay(_ context.Context, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.right == nil {
		b.all[b.at(key)].State = "waiting"
	}
	return b.right
}

func TestAParkedNotificationIsReplayed(t *testing.T) {
	t.Parallel()
	of := func(key, state, project string) api.Notice {
		return api.Notice{Key: key, State: state, Channel: "email", Recipient: "ann@example.org", Project: project, Request: "r", UpdatedAt: time.Now()}
	}
	all := &box{all: []api.Notice{of("email-p", "parked", "acme"), of("email-s", "sent", "acme"), of("email-o", "parked", "globex")}}
	b := setup(t, func(c *api.Config) { c.Notices = all })
	const at = "/v1/projects/acme/notifications"
	tok := b.token("acme", access.Operate)
	var page struct{ Notifications []api.Notice }
	b.call("GET", at+"?state=parked", tok, "").into(t, &page)
	if len(page.Notifications) != 1 || page.Notifications[0].Key != "email-p" {
		t.Errorf("%+v", page)
	}
	if got := b.call("GET", at, tok, ""); strings.Contains(string(got.body), "since") {
		t.Errorf("all were read: %s", got.body)
	}
	all.since = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	if got := b.call("GET", at, tok, ""); !strings.Contains(string(got.body), `"since":"2026-03-14T09:26:53Z"`) {
		t.Errorf("not all were read: %s", got.body)
	}
	if got := b.call("GET", at+"?state=lost", tok, ""); got.status != http.StatusUnprocessableEntity {
		t.Errorf("an unknown state: %d", got.status)
	}
	for key, status := range map[string]int{"email-p": 202, "email-s": 409, "email-o": 404, "none": 404, "a.b": 404, "*": 404, strings.Repeat("x", 101): 422} {
		got := b.call("POST", at+"/"+key+"/replay", tok, "")
		if got.status != status {
			t.Errorf("%s: %d %s", key, got.status, got.body)
		}
	}
	if n, err := all.Find(t.Context(), "email-o"); err != nil || n.State != "parked" || all.all[0].State != "waiting" {
		t.Errorf("%+v, %v", all.all, err)
	}
	var calls int
	b.must(b.pool.QueryRow(t.Context(), "SELECT count(*) FROM pgcourier.api_calls WHERE action = 'replay-notification'").Scan(&calls))
	if calls != 1 {
		t.Errorf("%d calls in the audit", calls)
	}
	all.right = api.ErrNoticeRight
	if got := b.call("POST", "/v1/projects/globex/notifications/email-o/replay", b.token("*", access.Admin), ""); got.status != http.StatusNotImplemented || !strings.Contains(string(got.body), "broker config") {
		t.Errorf("without the broker's right: %d %s", got.status, got.body)
	}
	all.right = api.ErrNoticeChanged
	if got := b.call("POST", "/v1/projects/globex/notifications/email-o/replay", b.token("*", access.Admin), ""); got.status != http.StatusConflict || got.problem(t).Code != "changed_meanwhile" {
		t.Errorf("changed meanwhile: %d %s", got.status, got.body)
	}
	none := setup(t)
	if got := none.call("GET", at, none.token("acme", access.Operate), ""); got.status != http.StatusNotImplemented {
		t.Errorf("without notifications: %d", got.status)
	}
}
