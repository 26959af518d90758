package ledger_test

import (
	"slices"
	"testing"

	"github.com/pgcourier/pgcourier/internal/ledger"
)

// A worker finds the notes of another one, in order and for that destination only.
func TestNotesAreSharedByAllWorkers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other, err := ledger.Open(t.Context(), ledger.Config{Pool: newPool(t, b.url)})
	if err != nil {
		t.Fatal(err)
	}
	const chat, key = "telegram:-100", "acme/r.1.sql"
	for _, ref := range []string{"c", "a", "b", "a"} {
		if err := b.Note(t.Context(), chat, key, ref); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range [][3]string{{"telegram:-200", key, "x"}, {chat, key + ".gz", "y"}} {
		if err := other.Note(t.Context(), n[0], n[1], n[2]); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(destination, key string, want ...string) {
		t.Helper()
		got, err := other.Notes(t.Context(), destination, key)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("notes of %s at %s: %q, %v; want %q", key, destination, got, err, want)
		}
	}
	expect(chat, key, "c", "a", "b")
	for range 2 { // nothing to forget is no error
		if err := other.ForgetNotes(t.Context(), chat, key); err != nil {
			t.Fatal(err)
		}
	}
	expect(chat, key)
	expect("telegram:-200", key, "x")
	expect(chat, key+".gz", "y")
}
