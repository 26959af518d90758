package service

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/restore/operation"
)

// keptWorld is a ledger and a target.
type keptWorld struct {
	due           []ledger.Kept
	identity      string
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
	return operation.Target{}, nil
}

func (w *keptWorld) Identity(operation.Target) ([]byte, error) { return []byte(w.identity), nil }

func (w *keptWorld) dropKept(ctx context.Context, _ operation.Target, schemas []string) (dropped, left []string, err error) {
	if w.asked == nil {
		w.asked = schemas
	}
	_, w.bounded = ctx.Deadline()
	return w.dropped, w.left, w.err
}

func TestKeptSchemasStayListedUntilTheTargetHasThemNoMore(t *testing.T) {
	t.Parallel()
	none := []string{}
	for name, tc := range map[string]struct {
		world keptWorld
		lists []string // the requests that stay listed
		warns string
	}{
		"dropped":            {keptWorld{dropped: []string{"a", "b"}, left: none}, nil, ""},
		"dropped before":     {keptWorld{left: none}, nil, ""},
		"not due there yet":  {keptWorld{left: []string{"a", "b"}}, []string{"one", "two"}, ""},
		"one is in use":      {keptWorld{dropped: []string{"b"}, left: []string{"a"}, err: errors.New("in use")}, []string{"one"}, "in use"},
		"lost in the middle": {keptWorld{dropped: []string{"a"}, err: errors.New("lost")}, []string{"two"}, "lost"},
		"away":               {keptWorld{err: errors.New("away")}, []string{"one", "two"}, "away"},
		"another target":     {keptWorld{identity: "other", left: none}, []string{"one", "two"}, "another target"},
		"the same elsewhere": {keptWorld{identity: "other", dropped: []string{"a", "b"}, left: none}, nil, ""},
	} {
		w := tc.world
		if w.identity == "" {
			w.identity = "target"
		}
		w.due = []ledger.Kept{
			{ID: export.ID{Project: "acme", Request: "one"}, Target: []byte("target"), Schemas: []string{"a"}},
			{ID: export.ID{Project: "acme", Request: "two"}, Target: []byte("target"), Schemas: []string{"b"}},
		}
		var log bytes.Buffer
		k := &keptDropper{ledger: &w, targets: &w, engine: &w, log: slog.New(slog.NewTextHandler(&log, nil))}
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
		if n := strings.Count(log.String(), "level=WARN"); (n == 1) != (tc.warns != "") || !strings.Contains(log.String(), tc.warns) {
			t.Errorf("%s: %d warnings, want one with %q:\n%s", name, n, tc.warns, log.String())
		}
		if !slices.Equal(w.asked, []string{"a", "b"}) {
			t.Errorf("%s: the target was asked to drop %v, the ledger lists a and b", name, w.asked)
		}
		if !w.bounded {
			t.Errorf("%s: the work in the target has no deadline", name)
		}
	}
}
