package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/retention"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/telemetry"
)

// PrunerConfig is what the role pruner needs.
type PrunerConfig struct {
	Ledger       *ledger.Ledger
	Projects     *project.Projects
	Destinations destinations.Set
	// NotDeleted is called for each deletion that a destination refused. nil: it is not called.
	NotDeleted func(ctx context.Context, destination string, err error)
	// Publisher publishes coming and completed deletions.
	Publisher telemetry.Publisher
	// Policy applies to projects without other rules.
	Policy retention.Policy
	First  bool          // Policy goes before applied rules, though not before a project's row
	Notice time.Duration // between the warning and the deletion
	Every  time.Duration // between two runs
	Holder string        // of the lease: this process
	Log    *slog.Logger
}

// Pruner is the role pruner: it deletes exports that no retention rule keeps.
type Pruner struct {
	*retention.Pruner
	ledger *ledger.Ledger
	every  time.Duration
}

// NewPruner returns a Pruner. PlanNow needs neither Destinations nor Publisher.
func NewPruner(c PrunerConfig) *Pruner {
	bins := make([]retention.Bin, len(c.Destinations))
	for i, d := range c.Destinations {
		bins[i] = bin{d, c.NotDeleted}
	}
	return &Pruner{ledger: c.Ledger, every: c.Every, Pruner: retention.NewPruner(retention.Config{
		Records: c.Ledger, Policies: policies{c.Projects, c.Ledger, c.Policy, c.First}, Bins: bins, Holder: c.Holder, Notice: c.Notice, Log: c.Log,
		Announcer: &handlers.Expiries{Publisher: publications{c.Publisher}, Source: "pgcourier/pruner"},
	})}
}

// Run prunes regularly until ctx ends.
func (p *Pruner) Run(ctx context.Context) error {
	p.Serve(ctx, p.every)
	return nil
}

// Once prunes the exports of one project, or of all when it is empty. Errors wrap
// retention.ErrBusy while another process prunes.
func (p *Pruner) Once(ctx context.Context, project string) (retention.Report, error) {
	return p.Pruner.Run(ctx, project)
}

// PlanNow returns what a run would do now, and changes nothing.
func (p *Pruner) PlanNow(ctx context.Context, project string) (retention.Report, error) {
	now, err := p.ledger.Now(ctx)
	if err != nil {
		return retention.Report{}, err
	}
	return p.Plan(ctx, project, now)
}

// policies returns the rules of the project's row, else the rule that was applied for it, else the
// default. With first no applied rule counts.
type policies struct {
	projects *project.Projects
	ledger   *ledger.Ledger
	usual    retention.Policy
	first    bool
}

var _ retention.Policies = policies{}

func (p policies) Policy(ctx context.Context, id string) (retention.Rules, bool, error) {
	out := retention.Rules{From: retention.FromProject}
	text, known, err := p.projects.Retention(ctx, id)
	if err != nil || !known {
		return out, known, err
	}
	if text == "" {
		var r retention.Rule
		found := false
		if !p.first {
			r, found, err = p.ledger.RetentionRule(ctx, id)
		}
		if err != nil || !found {
			return retention.Rules{Policy: p.usual, From: retention.FromDefault}, true, err
		}
		text, out.From, out.Projects = r.Policy, retention.FromRule, r.Projects
	}
	if out.Policy, err = retention.Parse(text); err != nil {
		return out, true, fmt.Errorf("the rules of project %s: %w", id, err)
	}
	return out, true, nil
}

// bin implements retention.Bin for a destination.
type bin struct {
	at         *destinations.Destination
	notDeleted func(ctx context.Context, destination string, err error)
}

var _ retention.Bin = bin{}

func (b bin) Destination() string { return b.at.Name }

// Confirm returns no error for an unreachable destination: the deletion fails there and reports it.
func (b bin) Confirm(ctx context.Context) error {
	err := b.at.Confirm(ctx)
	if errors.Is(err, storage.ErrNotMarked) || errors.Is(err, storage.ErrOtherStorage) {
		return err
	}
	return nil
}

func (b bin) Holds(ctx context.Context, key string) (bool, error) {
	_, err := b.at.Copy(ctx, key)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrDamaged) {
		return false, nil
	}
	return err == nil, err
}

func (b bin) Remove(ctx context.Context, key string) (string, error) {
	became, err := b.at.Remove(ctx, key)
	if err != nil && b.notDeleted != nil {
		b.notDeleted(ctx, b.at.Name, err)
	}
	return became.String(), err
}
