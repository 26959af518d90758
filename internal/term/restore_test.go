package term_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/term"
)

func TestEachEventOfARestoreIsALine(t *testing.T) {
	t.Parallel()
	from := events.RestoredExport{ProjectID: "acme", RequestID: "one"}
	for want, e := range map[string]events.Event{
		"staging/c1  started    attempt 2, from acme/one, 3.0 KiB": {RestoreStarted: &events.RestoreStarted{
			ProjectID: "staging", RestoreID: "c1", Attempt: 2, From: from, StoredBytes: 3072}},
		"staging/c1  running    checking, 1.0 KiB of 3.0 KiB read": {RestoreProgress: &events.RestoreProgress{
			ProjectID: "staging", RestoreID: "c1", Stage: "checking", ReadBytes: 1024, StoredBytes: 3072}},
		"staging/c1  completed  a plan, 7 rows in 2 tables from acme/one, 1.5s": {RestoreCompleted: &events.RestoreCompleted{
			ProjectID: "staging", RestoreID: "c1", From: from, Plan: true, Rows: 7, Tables: 2, DurationMS: 1500}},
		`staging/c1  failed     target_full: no\u001b room`: {RestoreFailed: &events.RestoreFailed{
			ProjectID: "staging", RestoreID: "c1", Code: codes.TargetFull, Message: "no\x1b room"}},
	} {
		got := term.Screen{Now: noon}.EventLine(e)
		if strings.ReplaceAll(got, `\x1b`, `\u001b`) != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestARestoreIsShownWithWhatItRestored(t *testing.T) {
	t.Parallel()
	r := term.Restore{
		ProjectID: "staging", RestoreID: "c1", From: "acme/one", State: "completed", Attempt: 1, CreatedAt: noon,
		Restored: json.RawMessage(`{"schemas":["tenant"],"tables":2,"rows":7,"kept":["tenant_before"],"kept_until":"` + noon.Add(time.Hour).Format(time.RFC3339) + `","remarks":["r"]}`),
	}
	ended := noon.Add(time.Minute)
	r.Attempts = []term.Attempt{
		{Attempt: 1, Worker: "host-a", Delivery: 1, Result: "retry", Code: "lock_timeout", Message: "in use", StartedAt: noon, EndedAt: &ended},
		{Attempt: 2, Worker: "host-b", Delivery: 2, Result: "completed", StartedAt: ended, EndedAt: &ended},
	}
	text := term.Screen{Now: noon}.RestoreDetails(r)
	for _, want := range []string{"acme/one", "7 rows in 2 tables into schema tenant", "schema tenant_before, until 2026-11-23 13:00:00Z", "remark",
		"ATTEMPT  RESULT", "host-a  lock_timeout: in use", "2        completed  2"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
	r.State, r.Code, r.Message, r.Restored, r.Attempts = "failed", "target_full", "no room", nil, nil
	if text := (term.Screen{Now: noon}).RestoreDetails(r); !strings.Contains(text, "target_full: no room") || strings.Contains(text, "rows in") || strings.Contains(text, "ATTEMPT") {
		t.Errorf("a failed one is shown as:\n%s", text)
	}
	if text := (term.Screen{Now: noon}).RestoreList([]term.Restore{r}); !strings.Contains(text, "c1") || !strings.Contains(text, "target_full") {
		t.Errorf("listed as:\n%s", text)
	}
}
