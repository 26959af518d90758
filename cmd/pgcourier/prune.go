package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/retention"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/destinations"
	"github.com/pgcourier/pgcourier/internal/term"
)

// pruned is a run of prune as it is printed.
type pruned struct {
	DryRun  bool               `json:"dry_run"`
	At      time.Time          `json:"at"`
	Jumped  bool               `json:"clock_jumped,omitzero"`
	Rules   []retention.Judged `json:"rules"`
	Spared  map[string]string  `json:"spared_projects,omitempty"`
	Exports []prunedExport     `json:"exports"`
}

type prunedExport struct {
	Project    string         `json:"project_id"`
	Request    string         `json:"request_id"`
	FinishedAt time.Time      `json:"finished_at"`
	Stored     int64          `json:"stored_bytes"`
	Verified   bool           `json:"verified"`
	Damaged    bool           `json:"damaged,omitzero"`
	Step       retention.Step `json:"step"`
	Why        []string       `json:"why"`
	DeleteAt   *time.Time     `json:"delete_at,omitempty"`
	Fault      string         `json:"fault,omitempty"`
}

func newPruned(r retention.Report, dry bool) pruned {
	out := pruned{DryRun: dry, At: r.At, Jumped: r.Jumped, Rules: r.Judged(), Spared: r.Spared, Exports: []prunedExport{}}
	for _, v := range r.Verdicts {
		e := prunedExport{
			Project: v.Project, Request: v.Request, FinishedAt: v.FinishedAt, Stored: v.Record.StoredBytes,
			Verified: v.Verified, Damaged: v.Damaged, Step: v.Step, Why: v.Why, Fault: v.Fault,
		}
		if !v.DeleteAt.IsZero() {
			e.DeleteAt = &v.DeleteAt
		}
		out.Exports = append(out.Exports, e)
	}
	return out
}

func (a *app) pruneCommand() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "prune [PROJECT]",
		Short: "Delete the exports that no retention rule keeps",
		Long: "Does once what the role pruner does regularly: it announces by backup.expiring which\n" +
			"exports will be deleted, deletes those that were announced PRUNE_NOTICE ago from every\n" +
			"destination, and announces backup.expired. The newest good export of a project stays,\n" +
			"and so does its newest verified one. --dry-run prints which exports would be deleted, and\n" +
			"why; it needs neither the broker nor the storage. Rules given by --retention override\n" +
			"those that apply has set; rules of a project's row override both.",
		Example: "  pgcourier prune --dry-run\n" +
			"  pgcourier prune acme --dry-run --retention last=7,monthly=12 --output json\n" +
			"  pgcourier prune",
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "change nothing")
	load := a.settingFlags(cmd, slices.Concat(ledgerSettings, brokerSettings,
		[]string{"STORAGE", "TELEGRAM_TOKEN", "PROJECT_QUERY", "RETENTION", "PRUNE_NOTICE"})...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		name := strings.Join(args, "")
		if len(args) > 0 && !events.ValidProject(name) {
			return exitf(exitUsage, "%q is no project id", name)
		}
		policy, err := retention.Parse(c.Retention)
		if err != nil {
			return exit(exitUsage, err)
		}
		return service.WithLedger(cmd.Context(), c, func(ctx context.Context, l *ledger.Ledger, projects *project.Projects) error {
			pruning := service.PrunerConfig{Ledger: l, Projects: projects, Policy: policy, First: cmd.Flags().Changed("retention"), Notice: c.PruneNotice, Log: a.logger(c)}
			if dry {
				r, err := service.NewPruner(pruning).PlanNow(ctx, name)
				if err != nil {
					return err
				}
				return a.printPruned(newPruned(r, true))
			}
			return setup.WithJetStream(ctx, c, a.logger(c), func(ctx context.Context, js jetstream.JetStream) error {
				pruning.Publisher = broker.NewPublisher(js)
				return a.prune(ctx, c, pruning, name)
			})
		})
	})
	return cmd
}

func (a *app) prune(ctx context.Context, c config.Config, pruning service.PrunerConfig, name string) (err error) {
	urls, err := c.StorageURLs()
	if err != nil {
		return err
	}
	pruning.Destinations, err = destinations.Open(urls, destinations.Options{
		TelegramToken: c.TelegramToken, AllowPlaintext: true, Log: pruning.Log,
		Journal: func(destination string) storage.Journal {
			return service.NewJournal(pruning.Ledger, destination, pruning.Log)
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pruning.Destinations.Close()) }()
	if err := pruning.Destinations.Bind(ctx, pruning.Ledger); err != nil {
		return err
	}
	if pruning.Holder, err = service.ProcessName(); err != nil {
		return err
	}
	r, err := service.NewPruner(pruning).Once(ctx, name)
	if errors.Is(err, retention.ErrBusy) {
		return err
	}
	out := newPruned(r, false)
	if err := errors.Join(err, a.printPruned(out)); err != nil {
		return err
	}
	if i := slices.IndexFunc(out.Exports, func(e prunedExport) bool { return e.Fault != "" }); i >= 0 {
		return exitf(exitFailed, "some exports could not be deleted; the next run tries again: %s", out.Exports[i].Fault)
	}
	return nil
}

func (a *app) printPruned(p pruned) error {
	return a.print(p, prunedText(a.screen(), p))
}

var pruneColumns = []term.Column{
	{Title: "PROJECT", ID: true}, {Title: "REQUEST", ID: true}, {Title: "AGE"}, {Title: "STORED", Drop: 2}, {Title: "VERIFIED", Drop: 1},
	{Title: "STEP", Least: 8}, {Title: "WHEN", Drop: 3}, {Title: "WHY", Least: 14},
}

func prunedText(s term.Screen, p pruned) string {
	s.Now = p.At
	var b strings.Builder
	table := term.Table{Columns: pruneColumns}
	for _, e := range p.Exports {
		checked := map[bool]string{true: "yes", false: "-"}[e.Verified]
		if e.Damaged {
			checked = "damaged"
		}
		why := strings.Join(e.Why, ", ")
		if e.Fault != "" {
			why = e.Fault
		}
		table.Add(e.Project, e.Request, s.Age(&e.FinishedAt), term.Size(e.Stored), checked, string(e.Step), term.Time(e.DeleteAt), why)
	}
	if len(p.Exports) == 0 {
		b.WriteString("no exports\n")
	} else {
		b.WriteString(table.Text(s))
	}
	for _, r := range p.Rules {
		if r.From != retention.FromDefault {
			fmt.Fprintln(&b, term.Sanitize(r.String()))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Spared)) {
		fmt.Fprintf(&b, "everything of project %s is kept: %s\n", term.Sanitize(name), term.Sanitize(p.Spared[name]))
	}
	if p.Jumped {
		b.WriteString("the ledger's clock jumped, or nothing was pruned for long: every notice begins anew\n")
	}
	return b.String()
}
