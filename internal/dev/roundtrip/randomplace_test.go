package roundtrip_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/restore"
)

var randomPlace = flag.Bool("random-place", false, "also replace each random schema, and then each of its tables, by itself: nothing may change")

// place replaces what was restored by itself, whole and table by table. The dump of the database, which
// compareRestored compares, must stay the same.
func (b *batch) place(t *testing.T, c *randomCase, x restore.Export) {
	t.Helper()
	r := fieldRestorer(t)
	p := restore.Placement{ID: fmt.Sprint("whole ", c.Seed), Source: source(t, b.name+"_ours"), Mode: restore.Replace, Keep: time.Microsecond}
	placed, err := r.Place(t.Context(), x, p, nil)
	if b.refusedPlace(t, c, err, "whole") {
		return
	}
	for _, table := range slices.SortedFunc(maps.Keys(placed.Evidence.Contents.Tables), func(a, b export.Table) int { return strings.Compare(a.String(), b.String()) }) {
		p.ID, p.Tables = fmt.Sprint("table ", c.Seed, table), []string{table.String()}
		_, err := r.Place(t.Context(), x, p, nil)
		b.refusedPlace(t, c, err, table.String())
	}
	if _, _, err := r.DropKept(t.Context(), p.Source, func(restore.Kept) bool { return true }); err != nil {
		b.differ(t, c, "drop what was kept: %v", err)
	}
}

// refusedPlace reports whether a placement was refused, and whether it may be: objects outside depend on
// what is replaced, or an extension cannot be moved.
func (b *batch) refusedPlace(t *testing.T, c *randomCase, err error, what string) bool {
	t.Helper()
	_, dependents := errors.AsType[*restore.DependentsError](err)
	if err != nil && !dependents && !errors.Is(err, restore.ErrForbidden) {
		b.differ(t, c, "replace %s: %v", what, err)
	}
	if err != nil {
		b.tally.add(func() { b.tally.notPlaced++ })
	} else {
		b.tally.add(func() { b.tally.placed++ })
	}
	return err != nil
}
