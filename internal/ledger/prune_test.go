package ledger_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/retention"
)

const (
	pruneLease = time.Minute
	pruneGap   = 24 * time.Hour
)

// complete makes completed requests.
func (b *bench) complete(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		r := request(id, `{}`)
		tok := b.granted(t, claimOf(r, 1))
		if err := b.Finish(t.Context(), tok, export.Ending{Outcome: outcome(tok, r)}); err != nil {
			t.Fatal(err)
		}
	}
}

func (b *bench) stored(t *testing.T) map[string]retention.Record {
	t.Helper()
	all, err := b.Stored(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]retention.Record{}
	for _, r := range all {
		out[r.Request] = r
	}
	return out
}

func acme(request string) export.ID { return export.ID{Project: "acme", Request: request} }

func ok(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestAnExpiryGoesStepByStep(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.complete(t, "r1", "r2")
	b.granted(t, claimOf(request("runs", `{}`), 1))
	if projects, err := b.StoredProjects(t.Context()); err != nil || !slices.Equal(projects, []string{"acme"}) {
		t.Errorf("projects %q, %v", projects, err)
	}
	all := b.stored(t)
	if r := all["r1"]; len(all) != 2 || r.Object == "" || r.FinishedAt.IsZero() || r.Expiry != nil || r.Verified || r.Damaged {
		t.Fatalf("stored %+v", all)
	}
	// Only exports that were announced long enough ago are deleted.
	begin := func(id string, notice time.Duration, want bool) {
		t.Helper()
		if begun, err := b.BeginDeletion(t.Context(), acme(id), notice); err != nil || begun != want {
			t.Fatalf("begun %t, %v; want %t", begun, err, want)
		}
	}
	begin("r1", 0, false)
	ok(t, b.Warned(t.Context(), acme("r1"), "no rule"))
	begin("r1", time.Hour, false)
	if e := b.stored(t)["r1"].Expiry; e == nil || e.Reason != "no rule" || e.WarnedAt.IsZero() || !e.DeletingAt.IsZero() {
		t.Errorf("warned: %+v", e)
	}
	ok(t, b.Spare(t.Context(), acme("r1")))
	begin("r1", 0, false)
	ok(t, b.Warned(t.Context(), acme("r1"), "again"))
	begin("r1", 0, true)
	// A deletion cannot be undone or begun twice.
	begin("r1", 0, false)
	ok(t, b.Spare(t.Context(), acme("r1")), b.Warned(t.Context(), acme("r1"), "other"), b.DeletionFailed(t.Context(), acme("r1"), "s3: away\x00"))
	if e := b.stored(t)["r1"].Expiry; e == nil || e.Reason != "again" || e.DeletingAt.IsZero() || e.Tries != 1 || e.Fault != "s3: away" {
		t.Errorf("deleting: %+v", e)
	}
	// The other one is the last.
	ok(t, b.Warned(t.Context(), acme("r2"), "no rule"))
	begin("r2", 0, false)

	if gone, err := b.Unannounced(t.Context(), 9); err != nil || len(gone) != 0 {
		t.Errorf("to announce: %v, %v", gone, err)
	}
	results := []retention.Result{{Destination: "s3", Result: "deleted"}}
	ok(t, b.Deleted(t.Context(), acme("r1"), results), b.Deleted(t.Context(), acme("r1"), nil))
	if _, there := b.stored(t)["r1"]; there {
		t.Error("a deleted object is stored")
	}
	gone, err := b.Unannounced(t.Context(), 9)
	if err != nil || len(gone) != 1 || gone[0].Request != "r1" || gone[0].DeletedAt.IsZero() || !slices.Equal(gone[0].Results, results) || gone[0].Expiry.Reason != "again" {
		t.Fatalf("to announce: %+v, %v", gone, err)
	}
	if e, err := b.Get(t.Context(), "r1", "acme"); err != nil || e[0].RemovedAt == nil || !e[0].RemovedAt.Equal(gone[0].DeletedAt) {
		t.Errorf("removed: %+v, %v", e, err)
	}
	ok(t, b.Announced(t.Context(), acme("r1")))
	if gone, err := b.Unannounced(t.Context(), 9); err != nil || len(gone) != 0 {
		t.Errorf("announced, and to announce: %v, %v", gone, err)
	}
}

func TestADamagedExportIsNoOtherOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.complete(t, "r1", "r2")
	ok(t, b.NoteVerification(t.Context(), acme("r1"), false), b.NoteVerification(t.Context(), acme("r2"), false),
		b.NoteVerification(t.Context(), acme("r2"), true), b.NoteVerification(t.Context(), acme("unknown"), true))
	if at, err := b.LastVerified(t.Context()); err != nil || time.Since(at).Abs() > time.Hour {
		t.Errorf("last verified at %s, %v", at, err)
	}
	all := b.stored(t)
	if r1, r2 := all["r1"], all["r2"]; !r1.Verified || r1.Damaged || r2.Verified || !r2.Damaged {
		t.Errorf("%+v, %+v", r1, r2)
	}
	ok(t, b.Warned(t.Context(), acme("r1"), "no rule"))
	if begun, err := b.BeginDeletion(t.Context(), acme("r1"), 0); err != nil || begun {
		t.Errorf("the only good one goes: %t, %v", begun, err)
	}
}

func TestOneProcessPrunes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	begin := func(holder string) (bool, error) {
		_, jumped, err := b.BeginPrune(t.Context(), holder, pruneLease, pruneGap)
		return jumped, err
	}
	if jumped, err := begin("a"); err != nil || jumped {
		t.Fatalf("the first time: %t, %v", jumped, err)
	}
	if _, err := begin("b"); !errors.Is(err, retention.ErrBusy) {
		t.Errorf("beside another: %v", err)
	}
	ok(t, b.KeepPruning(t.Context(), "a", pruneLease))
	if err := b.KeepPruning(t.Context(), "b", pruneLease); !errors.Is(err, retention.ErrBusy) {
		t.Errorf("another's lease: %v", err)
	}
	ok(t, b.EndPrune(t.Context(), "b", true))
	if _, err := begin("b"); !errors.Is(err, retention.ErrBusy) {
		t.Errorf("after another gave back what it did not have: %v", err)
	}
	ok(t, b.EndPrune(t.Context(), "a", false))
	if _, err := begin("b"); err != nil {
		t.Error(err)
	}
	b.exec(t, "UPDATE pgcourier.pruning SET lease_until = clock_timestamp() - interval '1 s'")
	if err := b.KeepPruning(t.Context(), "b", pruneLease); !errors.Is(err, retention.ErrBusy) {
		t.Errorf("a lease that has passed: %v", err)
	}
	if _, err := begin("c"); err != nil {
		t.Errorf("after a process that died: %v", err)
	}
}

// After a jump of the clock, in either direction, every notice begins again; a deletion that has
// begun continues. A lease from the future does not count.
func TestAClockThatJumps(t *testing.T) {
	t.Parallel()
	for name, since := range map[string]string{"forwards": "- interval '25 h'", "backwards": "+ interval '1 h'"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.complete(t, "r1", "r2", "r3")
			ok(t, b.Warned(t.Context(), acme("r1"), "no rule"), b.Warned(t.Context(), acme("r2"), "no rule"))
			if begun, err := b.BeginDeletion(t.Context(), acme("r2"), 0); err != nil || !begun {
				t.Fatal(begun, err)
			}
			b.exec(t, "UPDATE pgcourier.pruning SET begun_at = clock_timestamp() "+since+", holder = 'a', lease_until = clock_timestamp() "+since)
			if _, jumped, err := b.BeginPrune(t.Context(), "b", pruneLease, pruneGap); err != nil || !jumped {
				t.Fatalf("jumped %t, %v", jumped, err)
			}
			all := b.stored(t)
			if !all["r1"].Expiry.WarnedAt.IsZero() || all["r2"].Expiry.DeletingAt.IsZero() {
				t.Errorf("%+v, %+v", all["r1"].Expiry, all["r2"].Expiry)
			}
			ok(t, b.EndPrune(t.Context(), "b", true))
			if _, jumped, err := b.BeginPrune(t.Context(), "b", pruneLease, pruneGap); err != nil || jumped {
				t.Errorf("the next time: %t, %v", jumped, err)
			}
		})
	}
}
