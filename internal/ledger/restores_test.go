package ledger_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/restore/operation"
)

// ended records a restore with an outcome, published a day ago.
func (b *bench) endedRestore(t *testing.T, id string, out export.Outcome) {
	t.Helper()
	led := b.Restores()
	c := claimOf(request(id, "{}"), 1)
	c.Object = nil
	got, err := led.Claim(t.Context(), c)
	ok(t, err)
	out.ID, out.Attempt = got.Token.ID, 1
	ok(t, led.Finish(t.Context(), got.Token, export.Ending{Outcome: &out}), led.MarkPublished(t.Context(), out.ID))
	b.exec(t, "UPDATE pgcourier.restores SET published_at = published_at - interval '1 day' WHERE request_id = $1", id)
}

func TestRestoresThatAreOverAreForgottenAndWhatTheyKeptIsFoundBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	kept := func(until time.Time) export.Outcome {
		return export.Outcome{State: export.Completed, Restored: []byte(`{"schemas":["acme"],"kept":["old"],"kept_until":"` + until.UTC().Format(time.RFC3339) + `"}`)}
	}
	now := time.Now()
	b.endedRestore(t, "failed", export.Outcome{State: export.Failed, Code: codes.TargetOccupied, Permanent: true, Message: "m"})
	b.endedRestore(t, "keeps", kept(now.Add(24*time.Hour)))
	b.endedRestore(t, "due", kept(now.Add(-time.Hour)))
	b.endedRestore(t, "dropped", kept(now.Add(-8*24*time.Hour)))
	b.endedRestore(t, "overdue", kept(now.Add(-80*24*time.Hour)))
	led := b.Restores()
	ok(t, led.KeptGone(t.Context(), acme("dropped")))
	due, err := led.Keeping(t.Context())
	if err != nil || len(due) != 2 || due[0].Request != "due" || due[1].Request != "overdue" || !slices.Equal(due[0].Schemas, []string{"old"}) || !slices.Equal(due[0].Placed, []string{"acme"}) {
		t.Errorf("due schemas: %+v, %v", due, err)
	}
	if all, err := led.Attempts(t.Context(), acme("failed")); err != nil || len(all) != 1 || all[0].Attempt != 1 || all[0].Result != "failed" ||
		all[0].Code != codes.TargetOccupied || all[0].Message != "m" || all[0].EndedAt == nil {
		t.Errorf("attempts %+v, %v", all, err)
	}
	for n, want := range map[time.Duration]int{48 * time.Hour: 0, time.Hour: 2} {
		if got, err := led.Forget(t.Context(), n, now, 10); err != nil || got != want {
			t.Errorf("%d restores older than %s were forgotten (%v), want %d", got, n, err, want)
		}
	}
	for id, there := range map[string]bool{"failed": false, "keeps": true, "due": true, "overdue": true, "dropped": false} {
		e, err := led.Get(t.Context(), export.ID{Project: "acme", Request: id})
		if err != nil || (e != nil) != there {
			t.Errorf("%s: %+v, %v", id, e, err)
		}
	}
}

// The restores of an export are those that an attempt has resolved to it, and those that name it and have none yet.
func TestTheRestoresOfAnExportAreFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	led := b.Restores()
	add := func(project, id, payload, resolved string) { // a project has one running restore
		t.Helper()
		r := request(id, payload)
		r.Project = project
		c := claimOf(r, 1)
		c.Object = nil
		got, err := led.Claim(t.Context(), c)
		ok(t, err)
		if resolved != "" {
			_, err = led.Resolve(t.Context(), got.Token, export.ID{Project: "acme", Request: resolved})
			ok(t, err)
		}
	}
	add("acme", "named", `{"from":{"project_id":"acme","request_id":"it"}}`, "")
	add("staging", "resolved", `{"from":{"project_id":"acme","request_id":"latest"}}`, "it")
	add("staging-2", "latest", `{"from":{"project_id":"acme","request_id":"latest"}}`, "")
	add("staging-3", "another", `{"from":{"project_id":"acme","request_id":"it"}}`, "other")
	add("staging-4", "namesake", `{"from":{"project_id":"staging-4","request_id":"it"}}`, "")
	add("staging-5", "nothing", `{}`, "")
	for name, c := range map[string]struct {
		projects []string
		limit    int
		want     []string
	}{
		"all": {nil, 9, []string{"resolved", "named"}}, "the newest": {nil, 1, []string{"resolved"}},
		"into one project": {[]string{"acme"}, 9, []string{"named"}}, "into none": {[]string{}, 9, nil},
	} {
		rows, err := led.OfExport(t.Context(), export.ID{Project: "acme", Request: "it"}, c.projects, c.limit)
		var got []string
		for _, r := range rows {
			got = append(got, r.Request)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v (%v), want %v", name, got, err, c.want)
		}
	}
}

func TestARestoreIDThatIsUsedAgainHasAnotherMarker(t *testing.T) {
	t.Parallel()
	b := setup(t)
	led := b.Restores()
	id := export.ID{Project: "acme", Request: "undo"}
	seen := map[string]bool{}
	for range 3 {
		b.endedRestore(t, "undo", export.Outcome{State: export.Failed, Code: codes.TargetOccupied, Permanent: true, Message: "m"})
		s, err := led.Standing(t.Context(), id)
		marker := operation.Job{ID: id, Marker: s.Marker}.MarkerID()
		if err != nil || s.Marker == "" || seen[marker] {
			t.Fatalf("marker %q after %v, %v", marker, seen, err)
		}
		seen[marker] = true
		if n, err := led.Forget(t.Context(), time.Hour, time.Now(), 10); err != nil || n != 1 {
			t.Fatalf("%d restores were forgotten: %v", n, err)
		}
	}
	// A row from before such values has the marker that its attempts have used.
	if got := (operation.Job{ID: id}).MarkerID(); got != "acme/undo" {
		t.Errorf("the marker of an old row is %q", got)
	}
}

// An attempt that cannot ask the target, because it refuses the request that an earlier one accepted,
// must not record that the restore has failed.
func TestAFailureIsNotRecordedWithoutTheTargetOnceAnAttemptHasBegunToPlace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	led := b.Restores()
	r := request("undo", "{}")
	claim := func(n int) export.Token {
		t.Helper()
		c := claimOf(r, n)
		c.Object = nil
		got, err := led.Claim(t.Context(), c)
		if err != nil || got.Verdict != export.Granted {
			t.Fatalf("claimed: %+v, %v", got, err)
		}
		return got.Token
	}
	first := claim(1)
	if _, err := led.BeginPlacing(t.Context(), first, []byte("target")); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "UPDATE pgcourier.restores SET lease_until = lease_until - interval '1 hour'")
	second := claim(2)
	fails := export.Ending{Outcome: failure(r, 2, codes.InvalidRequest)}
	for range 2 {
		if err := led.Finish(t.Context(), second, fails); !errors.Is(err, operation.ErrUnsettled) {
			t.Errorf("failed without the target: %v", err)
		}
	}
	if err := led.Finish(t.Context(), first, fails); !errors.Is(err, export.ErrSuperseded) {
		t.Errorf("the earlier attempt: %v", err)
	}
	if e, err := led.Get(t.Context(), r.ID); err != nil || e.State != export.Running {
		t.Errorf("the restore is %+v, %v", e, err)
	}
	ok(t, led.FinishSettled(t.Context(), second, fails), led.FinishSettled(t.Context(), second, fails))
	if e, err := led.Get(t.Context(), r.ID); err != nil || e.State != export.Failed || e.Code != codes.InvalidRequest {
		t.Errorf("the restore is %+v, %v", e, err)
	}
}

func TestATargetIsUnansweredFromTheFirstQuestionOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	led := b.Restores()
	c := claimOf(request("undo", "{}"), 1)
	c.Object = nil
	got, err := led.Claim(t.Context(), c)
	ok(t, err)
	id := got.Token.ID
	b.exec(t, "UPDATE pgcourier.restores SET lease_until = lease_until - interval '9 hours'")
	for _, step := range []struct {
		minutes int // since the last question
		answers bool
		atLeast time.Duration
	}{{0, false, 0}, {20, false, 20 * time.Minute}, {20, false, 40 * time.Minute}, {90, false, 0}, {25, false, 25 * time.Minute}, {5, true, 0}, {5, false, 0}} {
		b.exec(t, `UPDATE pgcourier.restores SET unanswered_at = unanswered_at - make_interval(mins => $1),
			unanswered_since = unanswered_since - make_interval(mins => $1)`, step.minutes)
		if step.answers {
			ok(t, led.Answered(t.Context(), id))
			continue
		}
		since, err := led.Unanswered(t.Context(), id, 30*time.Minute)
		// The test itself may take long: what counts is that no earlier time is added.
		if err != nil || since < step.atLeast || since > step.atLeast+20*time.Minute {
			t.Errorf("%+v: not answered for %s, %v", step, since, err)
		}
		if s, err := led.Standing(t.Context(), id); err != nil || !s.Unanswered {
			t.Errorf("%+v: %+v, %v", step, s, err)
		}
	}
	out := export.Outcome{ID: id, State: export.Failed, Attempt: 1, Code: codes.TargetOccupied, Permanent: true, Message: "m"}
	ok(t, led.Finish(t.Context(), got.Token, export.Ending{Outcome: &out}))
	if _, err := led.Unanswered(t.Context(), id, time.Hour); !errors.Is(err, export.ErrNotLost) {
		t.Errorf("a restore that has ended: %v", err)
	}
}

func TestTheLatestExportIsStoredAndNotDamaged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.complete(t, "old", "new", "damaged", "removed")
	for i, id := range []string{"old", "new", "damaged", "removed"} {
		b.exec(t, "UPDATE pgcourier.requests SET finished_at = clock_timestamp() + make_interval(hours => $2) WHERE request_id = $1", id, i)
	}
	b.exec(t, "UPDATE pgcourier.requests SET removed_at = clock_timestamp() WHERE request_id = 'removed'")
	ok(t, b.NoteVerification(t.Context(), acme("damaged"), true), b.NoteVerification(t.Context(), acme("old"), false))
	for verified, want := range map[bool]string{false: "new", true: "old"} {
		if got, err := b.LatestExport(t.Context(), "acme", verified); err != nil || got != want {
			t.Errorf("verified %t: %q, %v, want %q", verified, got, err, want)
		}
	}
	if got, err := b.LatestExport(t.Context(), "globex", false); err != nil || got != "" {
		t.Errorf("a project without exports: %q, %v", got, err)
	}
}
