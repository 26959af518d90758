package e2e_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/notify"
)

// A chat gets a failure. A heartbeat calls its URL for the outcome.
func TestChatsAndHeartbeatsGetTheirEvents(t *testing.T) {
	t.Parallel()
	p := setupPost(t)
	var mu sync.Mutex
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.Method+" "+r.URL.Path+" "+string(body))
	}))
	t.Cleanup(server.Close)
	p.notifier("SMTP_URL=", "OPERATOR_EMAIL=", "NOTIFY_HOOKS=slack+"+server.URL+"/services/canary,heartbeat+"+server.URL+"/{project}#fail="+url.QueryEscape(server.URL+"/{project}/fail"))
	p.start("ROLES=intake,worker,sweeper")
	p.completed("globex", p.request(events.Requested{ProjectID: "globex"}))
	failed := p.request(events.Requested{ProjectID: "nobody"})
	p.failed("nobody", failed, codes.ProjectNotFound, 1)
	for _, r := range p.awaitRecords(notify.Sent, 3) {
		if strings.Contains(r.Recipient+r.Cause, "canary") {
			t.Errorf("the record shows the address: %+v", r)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(got)
	if len(got) != 3 || got[0] != "GET /globex " || got[1] != "GET /nobody/fail " ||
		!strings.HasPrefix(got[2], `POST /services/canary {"text": "Export of nobody failed (project_not_found)\n`) || !strings.Contains(got[2], failed) {
		t.Errorf("received: %q", got)
	}
}
