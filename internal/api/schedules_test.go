package api_test

import (
	"net/http"
	"testing"

	"github.com/pgcourier/pgcourier/internal/api/access"
)

func TestSchedulesArePutListedAndRemoved(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tok := b.token("acme", access.Operate, access.Read)
	const at = "/v1/projects/acme/schedules"
	got := b.call("PUT", at+"/nightly", tok, `{"cron":"0 3 * * *","time_zone":"Europe/Berlin","request":{"format":"custom"}}`)
	var s struct {
		Name, Cron, State string
		Next              []string
		Request           map[string]any
	}
	got.into(t, &s)
	if got.status != http.StatusOK || s.Name != "nightly" || s.Cron != "0 0 3 * * *" || s.State != "active" || len(s.Next) == 0 || s.Request["requested_by"] != "schedule:nightly" || s.Request["project_id"] != "acme" {
		t.Fatalf("%d %s", got.status, got.body)
	}
	got = b.call("PUT", at+"/nightly", tok, `{"cron":"@every 6h","paused":true}`)
	if got.into(t, &s); got.status != http.StatusOK || s.State != "paused" {
		t.Errorf("put in its place: %d %s", got.status, got.body)
	}
	b.call("PUT", "/v1/projects/globex/schedules/theirs", b.token("globex", access.Operate), `{"cron":"@daily"}`)
	var all struct{ Schedules []struct{ Name string } }
	b.call("GET", at, tok, "").into(t, &all)
	if len(all.Schedules) != 1 || all.Schedules[0].Name != "nightly" {
		t.Errorf("listed %+v", all)
	}
	for _, bad := range []string{
		`{}`, `{"cron":"x"}`, `{"cron":"0 3 * * *","time_zone":"Nowhere"}`, `{"cron":"@daily","request":{"project_id":"globex"}}`,
		`{"cron":"@daily","request":{"request_id":"x"}}`, `{"cron":"@daily","request":[]}`, `{"cron":"@daily","unknown":1}`, `{"cron":7}`, `{`,
		`{"cron":"@daily","request":{"format":"sql","format":"tar"}}`,
	} {
		if got := b.call("PUT", at+"/bad", tok, bad); got.status != 422 && got.status != 400 {
			t.Errorf("%s: %d %s", bad, got.status, got.body)
		} else {
			got.problem(t)
		}
	}
	if got := b.call("PUT", at+"/a.b", tok, `{"cron":"@daily"}`); got.status != 422 {
		t.Errorf("a name of two tokens: %d %s", got.status, got.body)
	}
	if got := b.call("GET", at+"/none", tok, ""); got.status != http.StatusNotFound {
		t.Errorf("an unknown one: %d %s", got.status, got.body)
	}
	if got := b.call("DELETE", at+"/nightly", tok, ""); got.status != http.StatusNoContent {
		t.Errorf("removed: %d %s", got.status, got.body)
	}
	if got := b.call("DELETE", at+"/nightly", tok, ""); got.status != http.StatusNotFound {
		t.Errorf("removed again: %d %s", got.status, got.body)
	}
}
