package destinations

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// Set is the opened destinations of a STORAGE list, the primary one first.
type Set []*Destination

// Open opens a STORAGE list. The caller closes the set. A fault of the list or of the options
// is a *config.Error.
func Open(urls []string, o Options) (all Set, err error) {
	locations, err := Parse(urls)
	if err != nil {
		return nil, err
	}
	for _, l := range locations {
		d, err := l.Open(o)
		if err != nil {
			return nil, errors.Join(err, all.Close())
		}
		all = append(all, d)
	}
	return all, nil
}

// Close releases all destinations, the last one first.
func (s Set) Close() error {
	var faults []error
	for _, d := range slices.Backward(s) {
		faults = append(faults, d.Close())
	}
	return errors.Join(faults...)
}

// Names returns the destinations' names in order.
func (s Set) Names() []string {
	var names []string
	for _, d := range s {
		names = append(names, d.Name)
	}
	return names
}

// Named returns the destination of that name, or nil.
func (s Set) Named(name string) *Destination {
	if i := slices.IndexFunc(s, func(d *Destination) bool { return d.Name == name }); i >= 0 {
		return s[i]
	}
	return nil
}

// Only keeps the destination of that name and closes the others. An unknown name closes all
// and is a *config.Error.
func (s Set) Only(name string) (Set, error) {
	wanted := s.Named(name)
	if wanted == nil {
		return nil, errors.Join(config.Errorf("--from: %q is not one of %s", name, strings.Join(s.Names(), ", ")), s.Close())
	}
	others := slices.DeleteFunc(slices.Clone(s), func(d *Destination) bool { return d == wanted })
	return Set{wanted}, others.Close()
}

// checkTimeout bounds the check of one destination.
const checkTimeout = time.Minute

// Check claims each destination and asks whether it can be used. The error is what is wrong with
// required ones. A fault of an optional destination is logged: it must not keep a worker from its
// work.
func (s Set) Check(ctx context.Context, r Records, log *slog.Logger) error {
	var faults []error
	for _, d := range s {
		bounded, cancel := context.WithTimeout(ctx, checkTimeout)
		err := d.Claim(bounded, r, log)
		if err == nil {
			err = d.Check(bounded)
		}
		cancel()
		switch {
		case err == nil:
		case d.Optional:
			log.ErrorContext(ctx, "optional destination cannot be used now", "destination", d.Name, "error", err)
		default:
			faults = append(faults, fmt.Errorf("storage %s: %w", d.Name, err))
		}
	}
	return errors.Join(faults...)
}

// StoreConfig says how exports are stored.
type StoreConfig struct {
	// Budget bounds the storing of one export at one destination.
	Budget time.Duration
	// Around wraps each destination.
	Around func(destination string, next export.Store) export.Store
	Log    *slog.Logger
}

// Store makes one store of all destinations.
func (s Set) Store(c StoreConfig) (export.Store, error) {
	var targets []storage.Target
	for _, d := range s {
		targets = append(targets, storage.Target{
			Name: d.Name, Store: c.Around(d.Name, storage.Budgeted{Store: d.Repository, Budget: c.Budget, Log: c.Log.With("destination", d.Name)}), Optional: d.Optional,
		})
	}
	if len(targets) == 1 {
		return targets[0].Store, nil
	}
	return storage.NewFan(targets, func(ctx context.Context, name string, err error) {
		c.Log.ErrorContext(ctx, "optional destination failed", "destination", name, "error", err)
	})
}
