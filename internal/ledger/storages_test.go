package ledger_test

import (
	"slices"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
)

func TestTheStorageOfAPlaceIsRecordedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	look := func(want, wantOn string) {
		t.Helper()
		if name, on, err := b.StorageAt(t.Context(), "file:///srv"); err != nil || name != want || on != wantOn {
			t.Errorf("%q on %q, %v; want %q on %q", name, on, err, want, wantOn)
		}
	}
	look("", "")
	for _, name := range []string{"a", "b"} {
		if got, err := b.NoteStorage(t.Context(), "file:///srv", name, "ext4 at /srv"); err != nil || got != "a" {
			t.Errorf("%q, %v", got, err)
		}
	}
	look("a", "ext4 at /srv")
	ok(t, b.ReplaceStorage(t.Context(), "file:///srv", "c", ""), b.ReplaceStorage(t.Context(), "s3://x", "d", ""))
	look("c", "")
}

func TestObjectsStoredAtADestinationAreListed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	finish := func(id string, copies []export.Copy) string {
		t.Helper()
		r := request(id, `{}`)
		tok := b.granted(t, claimOf(r, 1))
		o := outcome(tok, r)
		o.Artifact.Copies = copies
		ok(t, b.Finish(t.Context(), tok, export.Ending{Outcome: o}))
		return b.stored(t)[id].Object
	}
	first := finish("r1", []export.Copy{{Destination: "file"}, {Destination: "s3", Status: export.Stored}})
	second := finish("r2", []export.Copy{{Destination: "file", Status: export.Stored}, {Destination: "s3", Status: export.NotStored}})
	going := finish("r3", []export.Copy{{Destination: "file"}})
	gone := finish("r4", []export.Copy{{Destination: "file"}})
	finish("r5", nil)
	ok(t, b.Warned(t.Context(), acme("r3"), "no rule"))
	if begun, err := b.BeginDeletion(t.Context(), acme("r3"), 0); err != nil || !begun {
		t.Fatal(begun, err)
	}
	if _, err := b.Remove(t.Context(), acme("r4")); err != nil {
		t.Fatal(err)
	}
	for destination, want := range map[string][]string{"file": {second, first}, "s3": {first}, "telegram": {}} {
		if got, err := b.StoredAt(t.Context(), destination, 9); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q (not %s, which is being deleted, nor %s)", destination, got, err, want, going, gone)
		}
	}
	finish("r6", []export.Copy{{Destination: "telegram", Status: export.Stored, URI: "telegram://-42/acme/r6?message=1"}, {Destination: "telegram-2", Status: export.NotStored, URI: "telegram://-43/acme/r6"}})
	for beginning, want := range map[string]bool{"telegram://-42/": true, "telegram://-43/": false, "telegram://-4/": false} {
		if got, err := b.StoredUnder(t.Context(), []string{"telegram://1/", beginning}); err != nil || got != want {
			t.Errorf("under %s: %t, %v", beginning, got, err)
		}
	}
	if _, err := b.Remove(t.Context(), acme("r6")); err != nil {
		t.Fatal(err)
	}
	if got, err := b.StoredUnder(t.Context(), []string{"telegram://-42/"}); err != nil || got {
		t.Errorf("after it was removed: %t, %v", got, err)
	}
	if got, err := b.StoredAt(t.Context(), "file", 1); err != nil || !slices.Equal(got, []string{second}) {
		t.Errorf("the newest: %q, %v", got, err)
	}
}
