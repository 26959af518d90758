package retention_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/retention"
)

// book is a ledger in memory with one project, of which every export was announced.
type book struct {
	retention.Records
	now     time.Time
	stored  []retention.Record
	deleted map[string][]retention.Result
	failed  map[string]string
}

func newBook(requests ...string) *book {
	b := &book{now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), deleted: map[string][]retention.Result{}, failed: map[string]string{}}
	for i, r := range requests {
		at := b.now.Add(-time.Duration(i+1) * time.Hour)
		b.stored = append(b.stored, retention.Record{
			Export: retention.Export{ID: export.ID{Project: "acme", Request: r}, FinishedAt: at},
			Object: "acme/" + r, Expiry: &retention.Expiry{Reason: "no rule keeps it", WarnedAt: at},
		})
	}
	return b
}

func (b *book) BeginPrune(context.Context, string, time.Duration, time.Duration) (time.Time, bool, error) {
	return b.now, false, nil
}
func (b *book) KeepPruning(context.Context, string, time.Duration) error   { return nil }
func (b *book) EndPrune(context.Context, string, bool) error               { return nil }
func (b *book) StoredProjects(context.Context) ([]string, error)           { return []string{"acme"}, nil }
func (b *book) Spare(context.Context, export.ID) error                     { return nil }
func (b *book) Unannounced(context.Context, int) ([]retention.Gone, error) { return nil, nil }

func (b *book) Stored(context.Context, string) ([]retention.Record, error) { return b.stored, nil }

func (b *book) BeginDeletion(_ context.Context, id export.ID, _ time.Duration) (bool, error) {
	return true, nil
}

func (b *book) DeletionFailed(_ context.Context, id export.ID, fault string) error {
	b.failed[id.Request] = fault
	return nil
}

func (b *book) Deleted(_ context.Context, id export.ID, results []retention.Result) error {
	b.deleted[id.Request] = results
	return nil
}

func (b *book) StoredAt(context.Context, string, int) ([]string, error) {
	var keys []string
	for _, r := range b.stored {
		if r.Expiry == nil || r.Expiry.DeletingAt.IsZero() {
			keys = append(keys, r.Object)
		}
	}
	return keys, nil
}

// Policy keeps the newest export.
func (b *book) Policy(context.Context, string) (retention.Rules, bool, error) {
	p, err := retention.Parse("last=1")
	return retention.Rules{Policy: p}, true, err
}

// shelf is a destination in memory.
type shelf struct {
	name  string
	fault error
	keys  []string
}

func (s *shelf) Destination() string           { return s.name }
func (s *shelf) Confirm(context.Context) error { return s.fault }
func (s *shelf) Holds(_ context.Context, key string) (bool, error) {
	return slices.Contains(s.keys, key), nil
}

func (s *shelf) Remove(_ context.Context, key string) (string, error) {
	n := len(s.keys)
	if s.keys = slices.DeleteFunc(s.keys, func(k string) bool { return k == key }); len(s.keys) == n {
		return "absent", nil
	}
	return "deleted", nil
}

func steps(r retention.Report) map[string]retention.Step {
	out := map[string]retention.Step{}
	for _, v := range r.Verdicts {
		out[v.Request] = v.Step
	}
	return out
}

// A file system that is not mounted, or another worker's own folder: an export that is missing
// there is stored elsewhere, and must not be recorded as deleted.
func TestNoExportIsWrittenOffWhenTheStorageIsAnother(t *testing.T) {
	t.Parallel()
	all := []string{"acme/r1", "acme/r2", "acme/r3"}
	for name, c := range map[string]struct {
		bins  []shelf
		fault string // "": it is deleted
	}{
		"all are there":              {[]shelf{{name: "file", keys: all}}, ""},
		"one was removed by hand":    {[]shelf{{name: "file", keys: []string{"acme/r1", "acme/r2"}}}, ""},
		"an empty folder":            {[]shelf{{name: "file"}}, "file: none of the"},
		"a second one that is empty": {[]shelf{{name: "s3", keys: all}, {name: "file"}}, "file: none of the"},
		"another storage":            {[]shelf{{name: "file", keys: all, fault: errors.New("another one lies there")}}, "file: another one"},
	} {
		for _, begun := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := newBook("r1", "r2", "r3")
				if begun { // before the file system vanished
					b.stored[2].Expiry.DeletingAt = b.now.Add(-time.Minute)
				}
				var bins []retention.Bin
				for _, one := range c.bins {
					one.keys = slices.Clone(one.keys)
					bins = append(bins, &one)
				}
				p := retention.NewPruner(retention.Config{Records: b, Policies: b, Bins: bins, Holder: "test", Log: slog.New(slog.DiscardHandler)})
				r, err := p.Run(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				if c.fault == "" {
					if len(b.deleted) != 2 || b.deleted["r1"] != nil {
						t.Errorf("deleted %v", b.deleted)
					}
					return
				}
				if len(b.deleted) != 0 {
					t.Errorf("written off: %v", b.deleted)
				}
				for _, v := range r.Verdicts {
					if v.Request != "r1" && !strings.HasPrefix(v.Fault, c.fault) {
						t.Errorf("%s: %s, %q", v.Request, v.Step, v.Fault)
					}
				}
				if begun != strings.HasPrefix(b.failed["r3"], c.fault) {
					t.Errorf("noted %v", b.failed)
				}
			})
		}
	}
}

func TestAMissingObjectIsNotReportedAsDeleted(t *testing.T) {
	t.Parallel()
	b := newBook("r1", "r2", "r3")
	bins := []retention.Bin{&shelf{name: "file", keys: []string{"acme/r1", "acme/r3"}}, &shelf{name: "s3", keys: []string{"acme/r1"}}}
	p := retention.NewPruner(retention.Config{Records: b, Policies: b, Bins: bins, Holder: "test", Log: slog.New(slog.DiscardHandler)})
	r, err := p.Run(t.Context(), "")
	if got := steps(r); err != nil || got["r1"] != retention.Kept || got["r2"] != retention.Missing || got["r3"] != retention.Deletion {
		t.Errorf("%v, %v", got, err)
	}
	want := []retention.Result{{Destination: "file", Result: "absent"}, {Destination: "s3", Result: "absent"}}
	if !slices.Equal(b.deleted["r2"], want) {
		t.Errorf("noted %v", b.deleted)
	}
}
