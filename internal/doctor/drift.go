package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
)

// driftTimeout bounds the comparison of one destination with the ledger: all of it is listed.
const driftTimeout = 10 * time.Minute

// driftChecks hold what each destination lists against the ledger.
func (x *examiner) driftChecks() []Check {
	found, _ := x.placements() // the storage's own check says what is wrong
	var all []Check
	for _, p := range found {
		all = append(all, Check{Name: "drift/" + p.Name, Timeout: driftTimeout, Run: func(ctx context.Context, r *Report) { x.checkDrift(ctx, p, r) }})
	}
	return all
}

func (x *examiner) checkDrift(ctx context.Context, p destinations.Location, r *Report) {
	l, err := x.ledger(ctx)
	if err != nil {
		r.Skip("", "the ledger cannot be read")
		return
	}
	d, err := x.open(p)
	if err != nil {
		r.Skip("", "the storage cannot be used")
		return
	}
	defer func() { _ = d.Close() }()
	if err := d.Bind(ctx, l); err != nil {
		r.Skip("", "the ledger cannot be read")
		return
	}
	found, err := findDrift(ctx, d, l)
	if err != nil {
		r.Add("", storageFinding(err, p))
		return
	}
	if text := found.text(); text != "" {
		r.Add("", Finding{
			State: Fault, Found: text, Drift: &found,
			Fix: "`pgcourier recover` makes records for objects, `pgcourier rm` deletes them; what is missing has to be exported again: see docs/retention.md",
		})
		return
	}
	r.OK("", "it holds what the ledger says, and nothing else")
}

// Drift is how one destination differs from the ledger.
type Drift struct {
	// Missing are keys of exports that the ledger says are stored there, and are not.
	Missing []string `json:"missing,omitempty"`
	// Strays are keys of objects there that the ledger does not know, or says are deleted.
	Strays []string `json:"strays,omitempty"`
}

// text says what differs. "": nothing does.
func (d Drift) text() string {
	var parts []string
	for _, p := range []struct {
		what string
		keys []string
	}{{"missing although the ledger has them", d.Missing}, {"there although the ledger has them not", d.Strays}} {
		const most = 5
		if n := len(p.keys); n > 0 {
			text := fmt.Sprintf("%d %s: %s", n, p.what, strings.Join(p.keys[:min(n, most)], ", "))
			if n > most {
				text += ", ..."
			}
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, "; ")
}

// findDrift holds what a destination lists against the ledger.
func findDrift(ctx context.Context, d *destinations.Destination, l *ledger.Ledger) (Drift, error) {
	// First the ledger: what is recorded is stored before.
	recorded, err := recordedAt(ctx, d, l)
	if err != nil {
		return Drift{}, err
	}
	var there []string
	for key, err := range d.Keys(ctx) {
		if err != nil {
			return Drift{}, err
		}
		there = append(there, key)
	}
	listed := map[string]bool{}
	for _, key := range there {
		listed[key] = true
	}
	var out Drift
	for key := range recorded {
		if !listed[key] {
			out.Missing = append(out.Missing, key)
		}
	}
	if len(out.Missing) > 0 {
		// An object that was deleted since is not missing.
		again, err := recordedAt(ctx, d, l)
		if err != nil {
			return Drift{}, err
		}
		out.Missing = slices.DeleteFunc(out.Missing, func(key string) bool { return !again[key] })
		slices.Sort(out.Missing)
	}
	out.Strays, err = l.Strays(ctx, there)
	return out, err
}

// recordedAt returns the keys of exports that the ledger says are stored at d, and are not being
// deleted.
func recordedAt(ctx context.Context, d *destinations.Destination, l *ledger.Ledger) (map[string]bool, error) {
	projects, err := l.StoredProjects(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, p := range projects {
		records, err := l.Stored(ctx, p)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			stored := slices.ContainsFunc(r.Copies, func(c export.Copy) bool { return c.Destination == d.Name && c.Status != export.NotStored })
			if stored && (r.Expiry == nil || r.Expiry.DeletingAt.IsZero()) {
				out[r.Object] = true
			}
		}
	}
	return out, nil
}
