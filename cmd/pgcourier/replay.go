package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/replay"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/term"
)

// replayOptions are the flags of the command.
type replayOptions struct {
	replay.Filter
	failed, dryRun, wait bool
	timeout              time.Duration
	limiter              *rate.Limiter
}

func (a *app) replayCommand() *cobra.Command {
	var o replayOptions
	var perTime string
	var notifications []string
	cmd := &cobra.Command{
		Use:   "replay [REQUEST_ID]",
		Short: "Ask for failed exports again",
		Long: "Publishes a new request for a failed one, or with --failed for all that failed. The\n" +
			"new request points to the first of its chain, and its id follows from that: replaying\ntwice, also from two terminals at once, gives one request. Nothing is changed or\ndeleted. It needs the broker and not the ledger.\n\n" +
			"It skips requests that have completed since, that have a replay underway, or that were\ncancelled (unless --code cancelled is given). It waits while a queue is full.\n\n" +
			"The exit code of a single replay is 3 for an unknown request, and 6 when the request has\ncompleted, still waits or runs, or could not be decoded.",
		Example: "  pgcourier replay nightly-2026-11-23 --wait\n" +
			"  pgcourier replay --failed --since 24h --dry-run\n" +
			"  pgcourier replay --failed --since 6h --project acme --code storage_unavailable\n" +
			"  pgcourier replay --failed --since 24h --transient --rate 10/s --wait",
		Args: cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	f.BoolVar(&o.failed, "failed", false, "all exports that failed within --since")
	f.DurationVar(&o.Since, "since", 24*time.Hour, "with --failed: only those that failed within this time")
	f.StringVar(&o.Project, "project", "", "only this project's")
	f.StringVar((*string)(&o.Code), "code", "", "with --failed: only those whose latest failure has this code")
	f.BoolVar(&o.Permanent, "permanent", false, "with --failed: only permanent failures, once their cause is removed")
	f.BoolVar(&o.Transient, "transient", false, "with --failed: only transient failures")
	f.BoolVar(&o.dryRun, "dry-run", false, "publish nothing, print what would be published")
	f.StringVar(&perTime, "rate", "", "publish no faster than this, for instance 10/s or 30/m (default: no bound)")
	f.BoolVar(&o.wait, "wait", false, "wait for the outcomes; the exit code is 1 if one is a failure")
	f.DurationVar(&o.timeout, "timeout", 0, "end after this time; published requests still run (default: never)")
	f.StringSliceVar(&notifications, "notification", nil, "deliver these parked notifications again instead, by the keys of list --notifications")
	cmd.MarkFlagsMutuallyExclusive("permanent", "transient")
	load := a.settingFlags(cmd, brokerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("notification") {
			if len(args) > 0 {
				return exitf(exitUsage, "--notification is for notifications, and %q names a request: replay one or the other", args[0])
			}
			others := []string{"failed", "since", "project", "code", "permanent", "transient", "dry-run", "rate", "wait", "timeout"}
			if i := slices.IndexFunc(others, cmd.Flags().Changed); i >= 0 { // a dry run that delivers is not what was meant
				return exitf(exitUsage, "--%s cannot be used with --notification", others[i])
			}
			return delegate(cmd, notifications, "notifications", "replay")
		}
		if o.Since < 0 {
			return exitf(exitUsage, "--since: %s is negative", o.Since)
		}
		if (len(args) == 1) == o.failed {
			return exitf(exitUsage, "name one request, or use --failed for all that failed")
		}
		forFailed := []string{"since", "code", "permanent", "transient", "rate"}
		if i := slices.IndexFunc(forFailed, cmd.Flags().Changed); i >= 0 && !o.failed {
			return exitf(exitUsage, "--%s is for --failed", forFailed[i])
		}
		c, err := load()
		if err != nil {
			return err
		}
		if o.limiter, err = replay.ParseRate(perTime); err != nil {
			return exitf(exitUsage, "--rate: %w", err)
		}
		ctx := cmd.Context()
		if o.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("ended after %s", o.timeout))
			defer cancel()
		}
		js, client, disconnect, err := setup.ConnectOperator(c, a.logger(c))
		if err != nil {
			return err
		}
		defer disconnect()
		if !o.failed {
			id, err := config.SplitRequest(args[0], &o.Project)
			if err != nil {
				return err
			}
			return a.replayOne(ctx, service.NewPlanner(js), client, o, id)
		}
		return a.replayAll(ctx, service.NewPlanner(js), client, o)
	})
	return cmd
}

// replayOne replays one request, or says why not.
func (a *app) replayOne(ctx context.Context, planner *replay.Planner, client *events.Client, o replayOptions, id string) error {
	item, err := planner.One(ctx, o.Project, id)
	if errors.Is(err, replay.ErrAmbiguous) {
		return fmt.Errorf("%w: choose one with --project", err)
	}
	if err != nil {
		return err
	}
	if err := item.Refusal(); err != nil {
		return err
	}
	name, next := item.Failed.ProjectID+"/"+item.Failed.RequestID, item.Next
	report := replay.NewReport([]replay.Item{item}, o.dryRun)
	text := fmt.Sprintf("%s was replayed as %s, which completed: nothing to do\n", name, next.RequestID)
	switch {
	case item.Verdict != replay.Due:
	case o.dryRun:
		text = fmt.Sprintf("would replay %s as %s\n", name, next.RequestID)
	default:
		if _, err := report.Publish(ctx, replay.Publisher{Publish: client.RequestBackup}); err != nil {
			return err
		}
		text = fmt.Sprintf("replayed %s as %s; follow it with: pgcourier watch %s --project %s\n", name, next.RequestID, next.RequestID, next.ProjectID)
	}
	one := report.Items[0]
	if !o.wait || one.Result != replay.Published {
		return a.print(one, text)
	}
	out, err := a.await(ctx, client, one.ProjectID, one.Replay)
	if err != nil {
		return err
	}
	if err := a.print(term.EventJSON(events.Event{Outcome: out}), a.screen().OutcomeText(out)); err != nil {
		return err
	}
	if out.Failed != nil {
		return exitf(exitFailed, "the replay failed: %s", out.Failed.Code)
	}
	return nil
}

// replayAll replays what failed and says honestly what it did, also when it was cut short.
func (a *app) replayAll(ctx context.Context, planner *replay.Planner, client *events.Client, o replayOptions) error {
	items, err := planner.All(ctx, o.Filter)
	if err != nil {
		return err
	}
	report := replay.NewReport(items, o.dryRun)
	if o.dryRun {
		return a.print(report, replayText(a.screen(), report))
	}
	due, view := len(report.Due()), a.progress()
	show := func(done int, full string) {
		if full != "" {
			full = ", the queue of " + full + " is full"
		}
		view.Count("replaying", done, due, full)
	}
	if due > 0 {
		show(0, "")
	}
	done, err := report.Publish(ctx, replay.Publisher{Publish: client.RequestBackup, Rate: o.limiter, Report: show})
	if err == nil && o.wait {
		err = report.Await(ctx, client, done, func(ended int) { view.Count("exporting", ended, len(done), "") })
	}
	view.Close()
	if perr := a.print(report, replayText(a.screen(), report)); perr != nil || err != nil {
		return errors.Join(perr, err)
	}
	if n := report.Outcomes; n != nil && n.Failed > 0 {
		return exitf(exitFailed, "%d replays failed", n.Failed)
	}
	return nil
}

// replayText is what a dry run would do, line by line, and the counts.
func replayText(s term.Screen, r *replay.Report) string {
	if !r.DryRun || len(r.Items) == 0 {
		return r.Summary()
	}
	table := term.Table{Columns: []term.Column{
		{Title: "PROJECT", ID: true}, {Title: "REQUEST", ID: true}, {Title: "CAUSE"}, {Title: "ATTEMPTS", Drop: 2}, {Title: "AGE", Drop: 1}, {Title: "REPLAY", Least: 24},
	}}
	for _, i := range r.Items {
		table.Add(i.ProjectID, i.RequestID, string(i.Code), strconv.Itoa(i.Attempts), s.Age(&i.Failed.FinishedAt), i.Plan())
	}
	return table.Text(s) + "\n" + r.Summary()
}
