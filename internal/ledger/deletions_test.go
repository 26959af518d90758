package ledger_test

import (
	"slices"
	"testing"

	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/retention"
)

func TestHowFarRetentionIs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	progress := func(want ledger.RetentionProgress) {
		t.Helper()
		got, err := b.RetentionProgress(t.Context())
		if got.CompletedAt = got.CompletedAt.Truncate(0); err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	names := func(limit int) (ids []string, total int) {
		t.Helper()
		failing, total, err := b.FailingDeletions(t.Context(), limit)
		ok(t, err)
		for _, f := range failing {
			if f.Tries != 3 || f.Fault != "s3: denied" || f.Since.IsZero() {
				t.Errorf("%+v", f)
			}
			ids = append(ids, f.Request)
		}
		return ids, total
	}
	progress(ledger.RetentionProgress{})
	b.complete(t, "kept", "warned", "begun", "fails", "fails-too", "was-removed", "gone")
	for _, id := range []string{"warned", "begun", "fails", "fails-too", "was-removed", "gone"} {
		ok(t, b.Warned(t.Context(), acme(id), "no rule"))
	}
	for _, id := range []string{"begun", "fails", "fails-too", "was-removed", "gone"} {
		if begun, err := b.BeginDeletion(t.Context(), acme(id), 0); err != nil || !begun {
			t.Fatal(begun, err)
		}
	}
	for range 2 {
		for _, id := range []string{"begun", "fails", "fails-too", "was-removed", "gone"} {
			ok(t, b.DeletionFailed(t.Context(), acme(id), "s3: denied"))
		}
	}
	progress(ledger.RetentionProgress{Waiting: 6})
	if ids, total := names(9); len(ids) != 0 || total != 0 {
		t.Errorf("two runs may pass by themselves, and named are %q, %d", ids, total)
	}
	for _, id := range []string{"fails", "fails-too", "was-removed", "gone"} {
		ok(t, b.DeletionFailed(t.Context(), acme(id), "s3: denied"))
	}
	_, err := b.Remove(t.Context(), acme("was-removed"))
	ok(t, err, b.Deleted(t.Context(), acme("gone"), []retention.Result{}))
	progress(ledger.RetentionProgress{Waiting: 4, Failing: 2})
	if ids, total := names(9); !slices.Equal(ids, []string{"fails", "fails-too"}) || total != 2 {
		t.Errorf("failing %q, %d", ids, total)
	}
	if ids, total := names(1); !slices.Equal(ids, []string{"fails"}) || total != 2 {
		t.Errorf("the first of those that fail: %q, %d", ids, total)
	}
}

// Only a complete run over all projects counts.
func TestTheLastWholeRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	run := func(holder string, whole bool) ledger.RetentionProgress {
		t.Helper()
		_, _, err := b.BeginPrune(t.Context(), "a", pruneLease, pruneGap)
		ok(t, err, b.EndPrune(t.Context(), holder, whole), b.EndPrune(t.Context(), "a", false))
		got, err := b.RetentionProgress(t.Context())
		ok(t, err)
		return got
	}
	if got := run("a", false); !got.CompletedAt.IsZero() {
		t.Errorf("an interrupted run counts: %+v", got)
	}
	if got := run("b", true); !got.CompletedAt.IsZero() {
		t.Errorf("a run that lost its lease counts: %+v", got)
	}
	first := run("a", true)
	if first.CompletedAt.IsZero() {
		t.Error("a whole run does not count")
	}
	if got := run("a", false); !got.CompletedAt.Equal(first.CompletedAt) {
		t.Errorf("an interrupted run changes %+v to %+v", first, got)
	}
}
