package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/controlplane"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) listCommand() *cobra.Command {
	var f ledger.Filter
	var states []string
	var failed bool
	var notifications bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List requests, newest first",
		Example: "  pgcourier list --project acme\n" +
			"  pgcourier list --failed --since 24h\n" +
			"  pgcourier list --state waiting,running --output json\n" +
			"  pgcourier list --notifications --state parked",
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&f.Project, "project", "", "only this project's")
	cmd.Flags().StringSliceVar(&states, "state", nil, "only these: waiting, running, completed, failed")
	cmd.Flags().BoolVar(&failed, "failed", false, "only those that failed, with cause, attempts and age")
	cmd.Flags().StringVar((*string)(&f.Code), "code", "", "only those that failed with this code")
	cmd.Flags().DurationVar(&f.Since, "since", 0, "only those first seen within this time, for instance 24h")
	cmd.Flags().IntVar(&f.Limit, "limit", 50, "at most so many")
	cmd.Flags().BoolVar(&notifications, "notifications", false, "list notifications of outcomes instead, see pgcourier notifications list")
	for _, other := range []string{"failed", "code", "since"} {
		cmd.MarkFlagsMutuallyExclusive("notifications", other)
	}
	load := a.settingFlags(cmd, slices.Concat(ledgerSettings, brokerSettings)...)
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) error {
		if notifications {
			c, err := load()
			if err != nil {
				return err
			}
			return a.listNotifications(cmd.Context(), c, notificationFilter{states: states, project: f.Project, limit: f.Limit})
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
		return withLedger(cmd.Context(), c, func(ctx context.Context, l *ledger.Ledger) error {
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

func listText(s term.Screen, entries []ledger.Entry) string {
	if len(entries) == 0 {
		return "no requests\n"
	}
	table := term.Table{Columns: listColumns}
	for _, e := range entries {
		row := []string{e.Project, e.ID.Request, string(e.State), strconv.Itoa(e.Attempt), s.Age(&e.CreatedAt), took(e), "-", "-", "-", string(e.Code)}
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

func took(e ledger.Entry) string {
	if e.Outcome == nil || e.Outcome.StartedAt.IsZero() {
		return "-"
	}
	return e.Outcome.FinishedAt.Sub(e.Outcome.StartedAt).Round(10 * time.Millisecond).String()
}

func (a *app) showCommand() *cobra.Command {
	var project string
	cmd := &cobra.Command{
		Use:     "show REQUEST_ID",
		Short:   "Show one request, its attempts and its outcome",
		Example: "  pgcourier show nightly-2026-11-23\n  pgcourier show nightly --project acme --output json",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&project, "project", "", "the project, when several use the same request id")
	load := a.settingFlags(cmd, ledgerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		return withLedger(cmd.Context(), c, func(ctx context.Context, l *ledger.Ledger) error {
			entries, err := l.Get(ctx, args[0], project)
			if err != nil {
				return err
			}
			switch len(entries) {
			case 0:
				return exitf(exitNotFound, "no request %q is known", args[0])
			case 1:
				return a.print(entries[0], showText(a.screen(), entries[0]))
			}
			var projects []string
			for _, e := range entries {
				projects = append(projects, e.Project)
			}
			return exitf(exitUsage, "several projects use the request id %q: choose one with --project: %s", args[0], strings.Join(projects, ", "))
		})
	})
	return cmd
}

func showText(s term.Screen, e ledger.Entry) string {
	lines := [][2]string{
		{"project", e.Project}, {"request", e.ID.Request}, {"state", string(e.State)},
		{"first seen", term.Time(&e.CreatedAt)}, {"finished", term.Time(e.FinishedAt)}, {"announced", term.Time(e.PublishedAt)}, {"took", took(e)},
	}
	if e.RequestedBy != "" {
		lines = append(lines, [2]string{"requested by", e.RequestedBy})
	}
	if e.RemovedAt != nil {
		lines = append(lines, [2]string{"removed", term.Time(e.RemovedAt) + " from every destination"})
	}
	if e.Code != "" {
		lines = append(lines, [2]string{"cause", string(e.Code) + ": " + e.Message})
	}
	if e.Outcome != nil && e.Outcome.Artifact != nil {
		lines = append(lines, artifactLines(*e.Outcome.Artifact)...)
	}
	if len(e.Payload) > 0 {
		lines = append(lines, [2]string{"request body", string(e.Payload)})
	}
	text := s.Pairs(lines)
	if len(e.Attempts) == 0 {
		return text
	}
	table := term.Table{Columns: attemptColumns}
	for _, t := range e.Attempts {
		cause := string(t.Code)
		if t.Message != "" {
			cause += ": " + t.Message
		}
		table.Add(strconv.Itoa(t.Attempt), t.Result, strconv.Itoa(t.Delivery), term.Time(&t.StartedAt), term.Time(t.EndedAt), t.Worker, cause)
	}
	return text + "\n" + table.Text(s)
}

// attemptColumns are those of one request's attempts.
var attemptColumns = []term.Column{
	{Title: "ATTEMPT"}, {Title: "RESULT"}, {Title: "DELIVERY", Drop: 3}, {Title: "STARTED", Drop: 1}, {Title: "ENDED", Drop: 4},
	{Title: "WORKER", Drop: 2}, {Title: "CAUSE"},
}

func artifactLines(a export.Artifact) [][2]string {
	lines := [][2]string{
		{"format", string(a.Format) + ", compression " + string(a.Compression) + ", encryption " + string(a.Encryption)},
		{"size", fmt.Sprintf("%s dumped, %s stored", term.Size(a.SizeBytes), term.Size(a.StoredBytes))},
		{"contents", fmt.Sprintf("%d rows in %d tables, the same in the stream and in the snapshot", a.Rows, a.Tables)},
		{"sha256", a.SHA256},
		{"versions", "PostgreSQL " + a.ServerVersion + ", pg_dump " + a.PgDumpVersion},
	}
	for _, c := range a.Copies {
		lines = append(lines, term.LocationPair(events.Location{
			Destination: c.Destination, Status: events.LocationStatus(c.Status), URI: c.URI, Code: codes.Code(c.Code), Message: c.Message,
		}))
	}
	for _, w := range a.Warnings {
		lines = append(lines, [2]string{"warning", w})
	}
	return lines
}

// withLedger opens the ledger for one command.
func withLedger(ctx context.Context, c config.Config, do func(context.Context, *ledger.Ledger) error) error {
	if c.DatabaseURL == "" {
		return exitf(exitUsage, "set PGCOURIER_DATABASE_URL, as for the worker")
	}
	pool, err := controlplane.Connect(ctx, c.DatabaseURL)
	if err != nil {
		return exit(exitUsage, err)
	}
	defer pool.Close()
	l, err := ledger.Open(ctx, ledger.Config{Pool: pool})
	if err == nil {
		err = do(ctx, l)
	}
	if errors.Is(err, export.ErrLedgerUnavailable) {
		return exit(exitUnreachable, err)
	}
	return err
}
