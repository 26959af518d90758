package main

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) listCommand() *cobra.Command {
	var f ledger.Filter
	var states []string
	var failed bool
	var notifications, restores bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List requests, newest first",
		Example: "  pgcourier list --project acme\n" +
			"  pgcourier list --failed --since 24h\n" +
			"  pgcourier list --state waiting,running --output json\n" +
			"  pgcourier list --notifications --state parked\n" +
			"  pgcourier list --restores --project acme-staging",
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&f.Project, "project", "", "only this project's")
	cmd.Flags().StringSliceVar(&states, "state", nil, "only these: waiting, running, completed, failed")
	cmd.Flags().BoolVar(&failed, "failed", false, "only those that failed, with cause, attempts and age")
	cmd.Flags().StringVar((*string)(&f.Code), "code", "", "only those that failed with this code")
	cmd.Flags().DurationVar(&f.Since, "since", 0, "only those first seen within this time, for instance 24h")
	cmd.Flags().IntVar(&f.Limit, "limit", 50, "list at most this many")
	cmd.Flags().BoolVar(&notifications, "notifications", false, "list notifications of outcomes instead, see pgcourier notifications list")
	cmd.Flags().BoolVar(&restores, "restores", false, "list restores by event instead; --project is the one restored into")
	for _, other := range []string{"failed", "code", "since"} {
		cmd.MarkFlagsMutuallyExclusive("notifications", other)
		cmd.MarkFlagsMutuallyExclusive("restores", other)
	}
	cmd.MarkFlagsMutuallyExclusive("restores", "notifications")
	cmd.MarkFlagsMutuallyExclusive("restores", "state")
	load := a.settingFlags(cmd, slices.Concat(ledgerSettings, brokerSettings)...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		if notifications {
			return delegate(cmd, args, "notifications", "list")
		}
		for _, s := range states {
			if !slices.Contains([]export.State{export.Waiting, export.Running, export.Completed, export.Failed}, export.State(s)) {
				return exitf(exitUsage, "--state: %q is not waiting, running, completed or failed", s)
			}
			f.States = append(f.States, export.State(s))
		}
		if failed {
			if len(states) > 0 {
				return exitf(exitUsage, "--failed and --state exclude each other")
			}
			f.States = []export.State{export.Failed}
		}
		if f.Since < 0 {
			return exitf(exitUsage, "--since: %s is negative", f.Since)
		}
		c, err := load()
		if err != nil {
			return err
		}
		return service.WithLedger(cmd.Context(), c, func(ctx context.Context, l *ledger.Ledger, _ *project.Projects) error {
			if restores {
				return a.listRestores(ctx, l.Restores(), f.Project, f.Limit)
			}
			entries, err := l.List(ctx, f)
			if err != nil {
				return err
			}
			if entries == nil {
				entries = []ledger.Entry{}
			}
			if failed {
				return a.print(entries, failedText(a.screen(), entries))
			}
			return a.print(entries, listText(a.screen(), entries))
		})
	})
	return cmd
}

func (a *app) listRestores(ctx context.Context, l *ledger.Restores, project string, limit int) error {
	entries, err := l.List(ctx, project, limit)
	if err != nil {
		return err
	}
	out := make([]term.Restore, len(entries))
	for i, e := range entries {
		out[i] = term.Restore{
			ProjectID: e.Project, RestoreID: e.Request, From: strings.Trim(e.From.String(), "/"), State: string(e.State), Attempt: e.Attempt, Code: string(e.Code),
			Message: e.Message, RequestedBy: e.RequestedBy, CreatedAt: e.CreatedAt, StartedAt: e.StartedAt, FinishedAt: e.FinishedAt,
		}
	}
	return a.print(out, a.screen().RestoreList(out))
}

// The columns of lists, and which of them a narrow screen does without.
var (
	listColumns = []term.Column{
		{Title: "PROJECT", ID: true}, {Title: "REQUEST", ID: true}, {Title: "STATE", Least: 9}, {Title: "ATTEMPTS", Drop: 4}, {Title: "AGE"},
		{Title: "TOOK", Drop: 3}, {Title: "SIZE", Drop: 5}, {Title: "STORED", Drop: 1}, {Title: "ROWS", Drop: 2}, {Title: "CAUSE", Least: 12},
	}
	failedColumns = []term.Column{
		{Title: "PROJECT", ID: true}, {Title: "REQUEST", ID: true}, {Title: "ATTEMPTS"}, {Title: "AGE"}, {Title: "CAUSE", Least: 12},
		{Title: "MESSAGE", Drop: 1, Least: 20},
	}
)

// listText shows one request in each line.
func listText(s term.Screen, entries []ledger.Entry) string {
	if len(entries) == 0 {
		return "no requests\n"
	}
	table := term.Table{Columns: listColumns}
	for _, e := range entries {
		row := []string{e.Project, e.ID.Request, string(e.State), strconv.Itoa(e.Attempt), s.Age(&e.CreatedAt), term.Duration(e.Took()), "-", "-", "-", string(e.Code)}
		if e.Outcome != nil && e.Outcome.Artifact != nil {
			art := e.Outcome.Artifact
			row[6], row[7], row[8] = term.Size(art.SizeBytes), term.Size(art.StoredBytes), strconv.FormatInt(art.Rows, 10)
			if e.RemovedAt != nil {
				row[7] = "removed"
			}
		}
		table.Add(row...)
	}
	return table.Text(s)
}

// failedText lists what failed, how often it was tried, how long ago, and why.
func failedText(s term.Screen, entries []ledger.Entry) string {
	if len(entries) == 0 {
		return "no failed requests\n"
	}
	table := term.Table{Columns: failedColumns}
	for _, e := range entries {
		table.Add(e.Project, e.ID.Request, strconv.Itoa(e.Attempt), s.Age(e.FinishedAt), string(e.Code), e.Message)
	}
	return table.Text(s)
}
