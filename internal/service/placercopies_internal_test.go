package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/restore/operation"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// noted is a ledger that has noted nothing before.
type noted struct{ destinations.Records }

func (noted) StorageAt(context.Context, string) (name, liesOn string, err error) { return "", "", nil }

func (noted) StoredAt(context.Context, string, int) ([]string, error) { return nil, nil }

func (noted) NoteStorage(_ context.Context, _, name, _ string) (string, error) { return name, nil }

// A copy that cannot be read now may be whole: a damaged one elsewhere does not end the restore. Why a copy
// was passed over stands in the log.
func TestADamagedCopyDoesNotHideOneThatCannotBeRead(t *testing.T) {
	t.Parallel()
	const key = "acme/one.1.sql"
	away := func(dir string) error { return errors.Join(os.Rename(dir, dir+".away"), os.Mkdir(dir, 0o700)) }
	later := func(dir string) error { // of a later version
		name := filepath.Join(dir, key+".manifest.json")
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(name, []byte(strings.Replace(string(b), `"version": 1`, `"version": 99`, 1)), 0o600)
	}
	none := func(string) error { return nil }
	for name, c := range map[string]struct {
		first, second func(dir string) error
		calls         int
		want          codes.Code
	}{
		"both damaged":                     {none, none, 2, codes.ExportDamaged},
		"the first away":                   {away, none, 1, codes.StorageUnavailable},
		"the second away":                  {none, away, 1, codes.StorageUnavailable},
		"both away":                        {away, away, 0, codes.StorageUnavailable},
		"the first not readable":           {later, none, 1, codes.VersionMismatch},
		"the second not readable":          {none, later, 1, codes.VersionMismatch},
		"the first away, the second later": {away, later, 0, codes.StorageUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dirs := []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
			set, err := destinations.Open([]string{"file://" + dirs[0], "file://" + dirs[1]}, destinations.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := set.Close(); err != nil {
					t.Error(err)
				}
			})
			describe := storagetest.Describe(key, []byte("x"))
			for i, lose := range []func(string) error{c.first, c.second} {
				if err := set[i].Claim(t.Context(), noted{}, slog.New(slog.DiscardHandler)); err != nil {
					t.Fatal(err)
				}
				if _, err := set[i].Put(t.Context(), key, strings.NewReader("x"), describe); err != nil {
					t.Fatal(err)
				}
				if err := lose(dirs[i]); err != nil {
					t.Fatal(err)
				}
			}
			of := describe().Outcome
			of.ID = export.ID{Project: "acme", Request: "one"}
			var log strings.Builder
			p := &placer{
				reader: destinations.NewReader(set, nil), database: "postgres://u@localhost/db", log: slog.New(slog.NewTextHandler(&log, nil)),
			}
			calls := 0
			_, err = p.withCopy(t.Context(), operation.Job{ID: export.ID{Project: "acme", Request: "undo"}, Export: &of}, func(restore.Export, restore.Placement) error {
				calls++
				return fmt.Errorf("%w: the sum of copy %d", restore.ErrUnverified, calls)
			})
			f, ok := errors.AsType[*export.Fault](placeFault(t.Context(), err))
			if !ok || f.Code != c.want || calls != c.calls {
				t.Errorf("%d calls, %v, want %d and %s", calls, err, c.calls, c.want)
			}
			for i := range calls {
				if !strings.Contains(log.String(), fmt.Sprintf("the sum of copy %d", i+1)) {
					t.Errorf("the log lacks the cause of copy %d: %s", i+1, &log)
				}
			}
		})
	}
}
