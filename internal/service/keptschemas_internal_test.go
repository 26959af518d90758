package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/restore/operation"
)

// keptWorld is a ledger and a target.
type keptWorld struct {
	due           []ledger.Kept
	dropped, left []string
	err           error
	bounded       bool
	asked         []string // of the first drop
}

func (w *keptWorld) Keeping(context.Context) ([]ledger.Kept, error) { return slices.Clone(w.due), nil }

func (w *keptWorld) KeptGone(_ context.Context, id export.ID) error {
	w.due = slices.DeleteFunc(w.due, func(k ledger.Kept) bool { return k.ID == id })
	return nil
}

func (w *keptWorld) Lookup(context.Context, string) (operation.Target, error) {
	return operation.Target{DSN: "now", Schema: "acme"}, nil
}

func (w *keptWorld) Identity(t operation.Target) ([]byte, error) {
	return []byte(t.DSN.Reveal() + "/" + t.Schema), nil
}

func (w *keptWorld) dropKept(ctx context.Context, _ operation.Target, schemas []string) (dropped, left []string, err error) {
	if w.asked == nil {
		w.asked = schemas
	}
	_, w.bounded = ctx.Deadline()
	return w.dropped, w.left, w.err
}

// warnings returns the errors of the log's warnings, by restore, and fails if a restore has two.
func warnings(t *testing.T, log []byte) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range bytes.Lines(log) {
		var l struct {
			Level   string `json:"level"`
			Restore string `json:"restore_id"`
			Error   string `json:"error"`
		}
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		if l.Level != "WARN" {
			continue
		}
		if _, twice := out[l.Restore]; twice {
			t.Errorf("two warnings of %s:\n%s", l.Restore, log)
		}
		out[l.Restore] = l.Error
	}
	return out
}

func TestKeptSchemasStayListedUntilTheTargetHasThemNoMore(t *testing.T) {
	t.Parallel()
	none := []string{}
	const here = "now/acme"
	const other = "the control plane names another target than when the restore was made"
	stuck := func(schema string) error {
		return &restore.KeptError{Stuck: map[string]error{schema: errors.New("in use")}}
	}
	for name, tc := range map[string]struct {
		world keptWorld
		made  [2]string         // the targets in which the restores one and two were made; empty: here
		lists []string          // the requests that stay listed
		warns map[string]string // once each, in two rounds
	}{
		"dropped":               {keptWorld{dropped: []string{"a", "b"}, left: none}, [2]string{}, nil, nil},
		"dropped before":        {keptWorld{left: none}, [2]string{}, nil, nil},
		"not due there yet":     {keptWorld{left: []string{"a", "b"}}, [2]string{}, []string{"one", "two"}, nil},
		"one is in use":         {keptWorld{dropped: []string{"b"}, left: []string{"a"}, err: stuck("a")}, [2]string{}, []string{"one"}, map[string]string{"one": "in use"}},
		"one is not due":        {keptWorld{left: []string{"a", "b"}, err: stuck("a")}, [2]string{}, []string{"one", "two"}, map[string]string{"one": "in use"}},
		"another project's":     {keptWorld{left: []string{"a", "c"}, err: stuck("c")}, [2]string{}, []string{"one"}, nil},
		"lost in the middle":    {keptWorld{dropped: []string{"a"}, err: errors.New("lost")}, [2]string{}, []string{"two"}, map[string]string{"two": "lost"}},
		"away":                  {keptWorld{err: errors.New("away")}, [2]string{}, []string{"one", "two"}, map[string]string{"one": "away", "two": "away"}},
		"another dsn":           {keptWorld{left: none}, [2]string{"old/acme", "old/acme"}, []string{"one", "two"}, map[string]string{"one": other, "two": other}},
		"another dsn of one":    {keptWorld{left: none}, [2]string{"old/acme", here}, []string{"one"}, map[string]string{"one": other}},
		"another dsn, one used": {keptWorld{left: []string{"b"}, err: stuck("b")}, [2]string{"old/acme", here}, []string{"one", "two"}, map[string]string{"one": other, "two": "in use"}},
		"the same elsewhere":    {keptWorld{dropped: []string{"a", "b"}, left: none}, [2]string{"old/acme", "old/acme"}, nil, nil},
		"another name of it":    {keptWorld{left: []string{"a", "b"}}, [2]string{"alias/acme", "alias/acme"}, []string{"one", "two"}, nil},
		"another schema":        {keptWorld{left: none}, [2]string{"now/acme_v1", "now/"}, nil, nil},
	} {
		w := tc.world
		w.due = []ledger.Kept{
			{ID: export.ID{Project: "acme", Request: "one"}, Schemas: []string{"a"}, Placed: []string{"acme_v1"}},
			{ID: export.ID{Project: "acme", Request: "two"}, Schemas: []string{"b"}, Placed: []string{"acme_v0"}},
		}
		for i, made := range tc.made {
			if made == "" {
				made = here
			}
			w.due[i].Target = []byte(made)
		}
		var log bytes.Buffer
		k := &keptDropper{ledger: &w, targets: &w, engine: &w, log: slog.New(slog.NewJSONHandler(&log, nil))}
		for range 2 {
			k.drop(t.Context())
		}
		var lists []string
		for _, one := range w.due {
			lists = append(lists, one.Request)
		}
		if !slices.Equal(lists, tc.lists) {
			t.Errorf("%s: %v are listed, want %v", name, lists, tc.lists)
		}
		if got := warnings(t, log.Bytes()); !maps.Equal(got, tc.warns) {
			t.Errorf("%s: warnings %v, want %v", name, got, tc.warns)
		}
		if !slices.Equal(w.asked, []string{"a", "b"}) {
			t.Errorf("%s: the target was asked to drop %v, the ledger lists a and b", name, w.asked)
		}
		if !w.bounded {
			t.Errorf("%s: the work in the target has no deadline", name)
		}
	}
}

// slowWorld is a target that drops until its time is over.
type slowWorld struct{ keptWorld }

func (w *slowWorld) dropKept(ctx context.Context, _ operation.Target, _ []string) (dropped, left []string, err error) {
	<-ctx.Done()
	return w.dropped, nil, ctx.Err()
}

// KeptGone fails as the ledger does once its caller's time is over.
func (w *slowWorld) KeptGone(ctx context.Context, id export.ID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return w.keptWorld.KeptGone(ctx, id)
}

// What was dropped is recorded also if the time for the target ended meanwhile.
func TestWhatIsGoneIsRecordedWhenTheTimeOfItsTargetIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &slowWorld{keptWorld{dropped: []string{"a"}}}
		for request, schema := range map[string]string{"one": "a", "two": "b"} {
			w.due = append(w.due, ledger.Kept{ID: export.ID{Project: "acme", Request: request}, Schemas: []string{schema}, Target: []byte("now/acme")})
		}
		var log bytes.Buffer
		k := &keptDropper{ledger: w, targets: w, engine: w, log: slog.New(slog.NewJSONHandler(&log, nil))}
		k.drop(t.Context())
		if len(w.due) != 1 || w.due[0].Request != "two" {
			t.Errorf("%+v are listed, want two only", w.due)
		}
		if got := warnings(t, log.Bytes()); !maps.Equal(got, map[string]string{"two": context.DeadlineExceeded.Error()}) {
			t.Errorf("warnings %v", got)
		}
	})
}
