package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) showCommand() *cobra.Command {
	var of string
	var restore bool
	cmd := &cobra.Command{
		Use:     "show [PROJECT/]REQUEST_ID",
		Short:   "Show one request, its attempts and its outcome",
		Example: "  pgcourier show nightly-2026-11-23\n  pgcourier show nightly --project acme --output json\n  pgcourier show acme-staging/clone-7 --restore",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&of, "project", "", "the project, when several use the same request id")
	cmd.Flags().BoolVar(&restore, "restore", false, "show a restore by event, given as PROJECT/RESTORE_ID")
	load := a.settingFlags(cmd, ledgerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		id, err := config.SplitRequest(args[0], &of)
		if err != nil {
			return err
		}
		return service.WithLedger(cmd.Context(), c, func(ctx context.Context, l *ledger.Ledger, _ *project.Projects) error {
			if restore {
				return a.showRestore(ctx, l.Restores(), export.ID{Project: of, Request: id})
			}
			entries, err := l.Get(ctx, id, of)
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
			return exitf(exitUsage, "several projects use the request id %q: choose one with --project: %s", id, strings.Join(projects, ", "))
		})
	})
	return cmd
}

func (a *app) showRestore(ctx context.Context, l *ledger.Restores, id export.ID) error {
	e, err := l.Get(ctx, id)
	if err != nil || e == nil {
		return cmp.Or(err, exitf(exitNotFound, "no restore %s is known: name it as PROJECT/RESTORE_ID", term.Sanitize(id.String())))
	}
	attempts, err := l.Attempts(ctx, id)
	if err != nil {
		return err
	}
	r := term.Restore{
		ProjectID: e.Project, RestoreID: e.Request, From: strings.Trim(e.From.String(), "/"), State: string(e.State), Attempt: e.Attempt, Code: string(e.Code),
		Message: e.Message, RequestedBy: e.RequestedBy, CreatedAt: e.CreatedAt, StartedAt: e.StartedAt, FinishedAt: e.FinishedAt, Request: e.Payload, Attempts: attemptsOf(attempts),
	}
	if e.Outcome != nil {
		r.Restored = e.Outcome.Restored
	}
	return a.print(r, a.screen().RestoreDetails(r))
}

// showText shows a request, what is stored of it and its attempts.
func showText(s term.Screen, e ledger.Entry) string {
	lines := [][2]string{
		{"project", e.Project}, {"request", e.ID.Request}, {"state", string(e.State)},
		{"first seen", term.Time(&e.CreatedAt)}, {"finished", term.Time(e.FinishedAt)}, {"announced", term.Time(e.PublishedAt)}, {"took", term.Duration(e.Took())},
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
		lines = append(lines, artifactLines(s, *e.Outcome.Artifact)...)
	}
	if len(e.Payload) > 0 {
		lines = append(lines, [2]string{"request body", string(e.Payload)})
	}
	return s.Pairs(lines) + s.Attempts(attemptsOf(e.Attempts))
}

func attemptsOf(all []ledger.Attempt) []term.Attempt {
	out := make([]term.Attempt, len(all))
	for i, t := range all {
		out[i] = term.Attempt{
			Attempt: t.Attempt, Worker: t.Worker, Delivery: t.Delivery, Result: t.Result, Code: string(t.Code), Message: t.Message, StartedAt: t.StartedAt, EndedAt: t.EndedAt,
		}
	}
	return out
}

func artifactLines(s term.Screen, a export.Artifact) [][2]string {
	lines := [][2]string{
		{"format", string(a.Format) + ", compression " + compressionOf(a) + ", encryption " + string(a.Encryption)},
		{"size", fmt.Sprintf("%s dumped, %s stored", term.Size(a.SizeBytes), term.Size(a.StoredBytes))},
		{"contents", fmt.Sprintf("%d rows in %d tables, the same in the stream and in the snapshot", a.Rows, a.Tables)},
		{"sha256", a.SHA256},
		{"versions", "PostgreSQL " + a.ServerVersion + ", pg_dump " + a.PgDumpVersion},
	}
	for _, c := range a.Copies {
		lines = append(lines, term.LocationPair(events.Location{
			Destination: c.Destination, Status: events.LocationStatus(c.Status), URI: c.URI, Code: c.Code, Message: c.Message,
		}))
	}
	return append(lines, s.Warnings(a.Warnings)...)
}

// compressionOf returns the compression with its level, for instance "zstd (best)".
func compressionOf(a export.Artifact) string {
	if a.Level == "" {
		return string(a.Compression)
	}
	return string(a.Compression) + " (" + string(a.Level) + ")"
}
