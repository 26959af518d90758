package stored_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/stored"
)

func ExampleWithHint() {
	fmt.Println(stored.WithHint(fmt.Errorf("acme/nightly: %w", restore.ErrIdentity)))
	// Output: acme/nightly: no given identity opens the export: name the identity with --identity FILE
}

// exports are those of a folder that holds one export in two attempts.
func exports(t *testing.T) *stored.Exports {
	t.Helper()
	x, err := stored.Open(stored.Config{Settings: config.Config{Storage: []string{"file://" + t.TempDir()}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, key := range []string{"acme/nightly.1.sql", "acme/nightly.2.sql"} {
		if _, err := x.Set[0].Put(t.Context(), key, strings.NewReader("x"), storagetest.Describe(key, []byte("x"))); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

func TestRemoveDeletesEveryAttemptOnce(t *testing.T) {
	t.Parallel()
	x := exports(t)
	what, err := x.Objects(t.Context(), "nightly", nil)
	if err != nil || what.ID.String() != "acme/nightly" || len(what.Keys) != 2 {
		t.Fatalf("%+v, %v", what, err)
	}
	out, faults := x.Remove(t.Context(), what)
	if len(faults) != 0 || len(out) != 2 || out[0].Result != "deleted" {
		t.Errorf("%+v, %v", out, faults)
	}
	again, faults := x.Remove(t.Context(), what)
	if len(faults) != 0 || again[0].Result != "absent" {
		t.Errorf("again: %+v, %v", again, faults)
	}
	if _, err := x.Objects(t.Context(), "nightly", nil); !errors.Is(err, destinations.ErrNoExport) {
		t.Errorf("after it: %v", err)
	}
	if _, _, err := x.Find(t.Context(), "nightly"); !errors.Is(err, destinations.ErrNoExport) {
		t.Errorf("found after it: %v", err)
	}
}

func TestFetchRefusesToReplaceAFile(t *testing.T) {
	t.Parallel()
	x := exports(t)
	copies, _, err := x.Find(t.Context(), "acme/nightly")
	if err != nil || len(copies) != 1 || copies[0].Attempt != 2 {
		t.Fatalf("%+v, %v", copies, err)
	}
	c := stored.FetchConfig{Copy: copies[0], To: t.TempDir() + "/a.sql", Progress: func(string, int64, int64) {}}
	out, err := x.Fetch(t.Context(), c)
	if err != nil || out.File != c.To || out.Bytes != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, err := x.Fetch(t.Context(), c); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("again: %v", err)
	}
	c.Force = true
	if _, err := x.Fetch(t.Context(), c); err != nil {
		t.Error(err)
	}
}
