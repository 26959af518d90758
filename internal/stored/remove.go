package stored

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// Objects are all objects of one export, at every destination.
type Objects struct {
	ID   export.ID
	Keys []string // sorted
}

// Removed says what became of one object at one destination.
type Removed struct {
	ID     string `json:"id"`
	Key    string `json:"key"`
	From   string `json:"from"`
	Result string `json:"result"` // deleted, hidden, tombstoned or absent
}

// Objects finds the one export that id means and every object of it: in the storage, also where
// its manifest cannot be read, and in the ledger, also where a destination lost it. led may be
// nil. A destination that cannot be asked is an error.
func (e *Exports) Objects(ctx context.Context, id string, led *ledger.Ledger) (Objects, error) {
	found, unread, err := e.Search(ctx, id)
	if err != nil {
		return Objects{}, err
	}
	if unread != nil {
		return Objects{}, WithHint(unread)
	}
	keys := map[export.ID][]string{}
	for _, c := range found {
		keys[c.ID] = append(keys[c.ID], c.Key)
	}
	if led != nil {
		if err := addRecorded(ctx, led, id, keys); err != nil {
			return Objects{}, err
		}
	}
	var ids []string
	var out Objects
	for of := range keys {
		out.ID = of
		ids = append(ids, of.String())
	}
	slices.Sort(ids)
	switch len(ids) {
	case 0:
		return Objects{}, &destinations.NoExportError{ID: id}
	case 1:
		slices.Sort(keys[out.ID])
		out.Keys = slices.Compact(keys[out.ID])
		return out, nil
	}
	return Objects{}, &destinations.AmbiguousError{ID: id, Exports: ids}
}

// addRecorded adds the objects of completed requests that the ledger knows under id.
func addRecorded(ctx context.Context, led *ledger.Ledger, id string, keys map[export.ID][]string) error {
	project, request, both := strings.Cut(id, "/")
	if !both {
		project, request = "", id
	}
	entries, err := led.Get(ctx, request, project)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		for _, t := range entry.Attempts {
			if entry.State == export.Completed && t.Object != "" && storage.CheckKey(t.Object) == nil {
				keys[entry.ID] = append(keys[entry.ID], t.Object)
			}
		}
	}
	return nil
}

// Remove deletes the objects at every destination and goes on after a failure. faults are those
// of destinations.
func (e *Exports) Remove(ctx context.Context, o Objects) (all []Removed, faults []error) {
	all = []Removed{}
	for _, d := range e.Set {
		for _, key := range o.Keys {
			became, err := d.Remove(ctx, key)
			if err != nil {
				faults = append(faults, WithHint(fmt.Errorf("%s: %w", d.Name, err)))
				continue
			}
			all = append(all, Removed{o.ID.String(), key, d.Name, became.String()})
		}
	}
	return all, faults
}
