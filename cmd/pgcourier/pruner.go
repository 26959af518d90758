package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/retention"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// openPruner prepares the role pruner, and refuses rules that cannot be meant.
func (w *worker) openPruner(projects *project.Projects, name string) error {
	c := w.config
	policy, err := retention.Parse(c.Retention)
	if err != nil {
		return exitf(exitUsage, "%sRETENTION: %w", config.Prefix, err)
	}
	if !slices.Contains(c.Roles, config.RolePruner) {
		return nil
	}
	w.pruner = retention.NewPruner(retention.Config{
		Records: w.ledger, Policies: policies{projects, policy}, Bins: bins(w.places, w.telemetry), Holder: name, Notice: c.PruneNotice, Log: w.log,
		Announcer: &handlers.Expiries{Publisher: publications{w.publisher(server.UserWorker)}, Source: "pgcourier/pruner"},
	})
	return nil
}

// policies are the control plane's rules, over a default.
type policies struct {
	projects *project.Projects
	usual    retention.Policy
}

var _ retention.Policies = policies{}

func (p policies) Policy(ctx context.Context, id string) (retention.Policy, bool, error) {
	text, known, err := p.projects.Retention(ctx, id)
	if err != nil || !known || text == "" {
		return p.usual, known, err
	}
	own, err := retention.Parse(text)
	if err != nil {
		return retention.Policy{}, true, fmt.Errorf("the rules of project %s: %w", id, err)
	}
	return own, true, nil
}

// bin is a destination as the pruner deletes there.
type bin struct {
	place     *destinations.Destination
	telemetry *telemetry.Telemetry // nil: a command's, which tells of nothing
}

var _ retention.Bin = bin{}

func bins(places destinations.Set, t *telemetry.Telemetry) []retention.Bin {
	out := make([]retention.Bin, len(places))
	for i, d := range places {
		out[i] = bin{d, t}
	}
	return out
}

func (b bin) Destination() string { return b.place.Name }

func (b bin) Holds(ctx context.Context, key string) (bool, error) {
	_, err := b.place.Copy(ctx, key)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrDamaged) {
		return false, nil
	}
	return err == nil, err
}

func (b bin) Remove(ctx context.Context, key string) (string, error) {
	became, err := b.place.Remove(ctx, key)
	if err != nil && b.telemetry != nil {
		b.telemetry.NotDeleted(ctx, b.place.Name, err)
	}
	return became.String(), err
}
