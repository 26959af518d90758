package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
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
			"new request points to the first of its chain, and its id follows from that: replaying\n" +
			"twice, also from two terminals at once, gives one request. Nothing is changed or\n" +
			"deleted. It needs the broker alone, not the ledger.\n\n" +
			"Left alone is what has completed since, what has a replay underway, and, unless asked\n" +
			"for with --code cancelled, what somebody cancelled. A full queue is waited for.\n\n" +
			"The code of a single replay is 3 for an unknown request, and 6 when the request has\n" +
			"completed, still waits or runs, or could not be decoded.",
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
	f.BoolVar(&o.Permanent, "permanent", false, "with --failed: only where trying again alone cannot help: the cause was seen to")
	f.BoolVar(&o.Transient, "transient", false, "with --failed: only where trying again may help")
	f.BoolVar(&o.dryRun, "dry-run", false, "publish nothing, say what would be")
	f.StringVar(&perTime, "rate", "", "publish no faster than this, for instance 10/s or 30/m (default: no bound)")
	f.BoolVar(&o.wait, "wait", false, "wait for the outcomes; the code is 1 if one is a failure")
	f.DurationVar(&o.timeout, "timeout", 0, "end after this time; what is published stays so (default: never)")
	f.StringSliceVar(&notifications, "notification", nil, "deliver these parked notifications again instead, by the keys of list --notifications")
	cmd.MarkFlagsMutuallyExclusive("permanent", "transient")
	load := a.settingFlags(cmd, brokerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("notification") {
			if err := alone(cmd, args); err != nil {
				return err
			}
			return delegate(cmd, notifications, "notifications", "replay")
		}
		if o.Since < 0 {
			return exitf(exitUsage, "--since: %s is negative", o.Since)
		}
		if (len(args) == 1) == o.failed {
			return exitf(exitUsage, "name one request, or say --failed for all that failed")
		}
		for _, name := range []string{"since", "code", "permanent", "transient", "rate"} {
			if !o.failed && cmd.Flags().Changed(name) {
				return exitf(exitUsage, "--%s is for --failed", name)
			}
		}
		var err error
		if o.limiter, err = parseRate(perTime); err != nil {
			return exit(exitUsage, err)
		}
		c, err := load()
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		if o.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("ended after %s", o.timeout))
			defer cancel()
		}
		nc, err := setup.Connect(c, server.UserOperator, a.logger(c))
		if err != nil {
			return err
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		client, err := events.NewClient(nc)
		if err != nil {
			return err
		}
		if !o.failed {
			return a.replayOne(ctx, service.NewPlanner(js), client, o, args[0])
		}
		return a.replayAll(ctx, service.NewPlanner(js), client, o)
	})
	return cmd
}

// alone refuses what --notification would have to ignore: a dry run that delivers, or an
// export that is replayed beside it, is not what was meant.
func alone(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return exitf(exitUsage, "--notification is for notifications, and %q names a request: replay one or the other", args[0])
	}
	for _, name := range []string{"failed", "since", "project", "code", "permanent", "transient", "dry-run", "rate", "wait", "timeout"} {
		if cmd.Flags().Changed(name) {
			return exitf(exitUsage, "--%s cannot be used with --notification", name)
		}
	}
	return nil
}

// parseRate reads 10/s, 30/m or 2/h; nothing means no bound.
func parseRate(text string) (*rate.Limiter, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // no bound is an ordinary answer
	}
	count, unit, _ := strings.Cut(text, "/")
	per, known := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	n, err := strconv.ParseFloat(count, 64)
	if err != nil || !known || !(n > 0 && n <= 1e6) {
		return nil, fmt.Errorf("--rate: %q is not a number and /s, /m or /h, such as 10/s", text)
	}
	return rate.NewLimiter(rate.Limit(n/per.Seconds()), 1), nil
}

// replayOne replays one request, or says why not.
func (a *app) replayOne(ctx context.Context, planner *replay.Planner, client *events.Client, o replayOptions, id string) error {
	item, err := planner.One(ctx, o.Project, id)
	switch {
	case errors.Is(err, replay.ErrUnknown):
		return exit(exitNotFound, err)
	case errors.Is(err, replay.ErrAmbiguous):
		return exitf(exitUsage, "%w: choose one with --project", err)
	case errors.Is(err, replay.ErrNotFailed):
		return exit(exitNotPossible, err)
	case err != nil:
		return err
	}
	name := item.Failed.ProjectID + "/" + item.Failed.RequestID
	switch item.Verdict {
	case replay.Undecodable:
		return exitf(exitNotPossible, "%s cannot be replayed: the request could not be decoded (%s)", name, item.Failed.Code)
	case replay.Underway:
		return exitf(exitNotPossible, "%s is replayed already: %s waits or runs", name, item.Next.RequestID)
	case replay.Due, replay.Completed:
	}
	report := newReport([]replay.Item{item}, o.dryRun)
	one := &report.Items[0]
	text := fmt.Sprintf("%s was replayed as %s, which completed: nothing to do\n", name, item.Next.RequestID)
	if item.Verdict == replay.Due {
		text = fmt.Sprintf("would replay %s as %s\n", name, item.Next.RequestID)
		if !o.dryRun {
			publisher := replay.Publisher{Publish: client.RequestBackup}
			done, err := publisher.Run(ctx, []events.Requested{item.Next})
			if err != nil {
				return err
			}
			report.publish(done)
			text = fmt.Sprintf("replayed %s as %s; follow it with: pgcourier watch %s --project %s\n",
				name, item.Next.RequestID, item.Next.RequestID, item.Next.ProjectID)
		}
	}
	if !o.wait || one.Result != resultPublished {
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
	report := newReport(items, o.dryRun)
	if o.dryRun {
		return a.print(report, report.text(a.screen()))
	}
	var due []events.Requested
	for _, i := range items {
		if i.Verdict == replay.Due {
			due = append(due, i.Next)
		}
	}
	view := a.progress()
	show := func(done int, full string) { view.Count("replaying", done, len(due), queueFull(full)) }
	if len(due) > 0 {
		show(0, "")
	}
	publisher := replay.Publisher{Publish: client.RequestBackup, Rate: o.limiter, Report: show}
	done, err := publisher.Run(ctx, due)
	view.Close()
	report.publish(done)
	if err == nil && o.wait {
		report.Outcomes, err = a.outcomes(ctx, client, done)
	}
	if perr := a.print(report, report.text(a.screen())); perr != nil || err != nil {
		return errors.Join(perr, err)
	}
	if n := report.Outcomes; n != nil && n.Failed > 0 {
		return exitf(exitFailed, "%d replays failed", n.Failed)
	}
	return nil
}

// queueFull says which project's queue the publishing waits for, if any.
func queueFull(project string) string {
	if project == "" {
		return ""
	}
	return ", the queue of " + project + " is full"
}

// outcomes waits until all that was published has ended.
func (a *app) outcomes(ctx context.Context, client *events.Client, published []events.Requested) (*outcomeSums, error) {
	sums := &outcomeSums{}
	view := a.progress()
	defer view.Close()
	for i, r := range published {
		view.Count("exporting", i, len(published), "")
		out, err := client.Await(ctx, r.ProjectID, r.RequestID)
		if err != nil {
			return sums, err
		}
		if out.Completed != nil {
			sums.Completed++
		} else {
			sums.Failed++
		}
		view.Count("exporting", i+1, len(published), "")
	}
	return sums, nil
}
