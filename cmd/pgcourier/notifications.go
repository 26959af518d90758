package main

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/notify/queue"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) notificationsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "notifications",
		Example: "  pgcourier notifications list --state parked",
		Short:   "List notifications of outcomes, and deliver parked ones again",
		Long: "A notification waits, was sent, or is parked: it was refused for good, or its tries are\n" +
			"used up. A parked one can be replayed. Only the broker is asked, not the database.",
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(a.notificationsListCommand(), a.notificationsReplayCommand())
	return cmd
}

func (a *app) notificationsListCommand() *cobra.Command {
	var f notificationFilter
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List notifications, the last changed first",
		Example: "  pgcourier notifications list --state parked\n" +
			"  pgcourier notifications list --project acme --output json",
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringSliceVar(&f.states, "state", nil, "only these: waiting, sent, parked")
	cmd.Flags().StringVar(&f.project, "project", "", "only this project's")
	cmd.Flags().IntVar(&f.limit, "limit", 50, "list at most this many")
	load := a.settingFlags(cmd, brokerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		return a.listNotifications(cmd.Context(), c, f)
	})
	return cmd
}

func (a *app) notificationsReplayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay KEY...",
		Short: "Deliver parked notifications again",
		Long: "Puts parked notifications back into the queue, with a new set of tries, under\n" +
			"the same Message-ID or webhook-id as before. One that waits stays as it is; one that\n" +
			"was sent is refused.",
		Example: "  pgcourier notifications replay email-6bmqz5vjv2cnjv7x2jkn3y4f5e",
		Args:    cobra.MinimumNArgs(1),
	}
	load := a.settingFlags(cmd, brokerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		return a.replayNotifications(cmd.Context(), c, args)
	})
	return cmd
}

// notificationFilter says which notifications are listed. The zero value lists all.
type notificationFilter struct {
	states  []string
	project string
	limit   int
}

func (f notificationFilter) check() error {
	for _, s := range f.states {
		if !slices.Contains([]notify.State{notify.Waiting, notify.Sent, notify.Parked}, notify.State(s)) {
			return exitf(exitUsage, "--state: %q is not waiting, sent or parked", s)
		}
	}
	return nil
}

func (f notificationFilter) takes(r notify.Record) bool {
	return (len(f.states) == 0 || slices.Contains(f.states, string(r.State))) && (f.project == "" || f.project == r.ProjectID)
}

// listNotifications prints what is known of notifications, the last changed first.
func (a *app) listNotifications(ctx context.Context, c config.Config, f notificationFilter) error {
	if err := f.check(); err != nil {
		return err
	}
	return setup.WithJetStream(ctx, c, a.logger(c), func(ctx context.Context, js jetstream.JetStream) error {
		all, err := queue.NewRecords(js).List(ctx)
		if err != nil {
			return err
		}
		shown := []notify.Record{}
		for _, r := range slices.Backward(all) {
			if f.takes(r) && (f.limit <= 0 || len(shown) < f.limit) {
				shown = append(shown, r)
			}
		}
		return a.print(shown, notificationsText(a.screen(), shown))
	})
}

var notificationColumns = []term.Column{
	{Title: "NOTIFICATION", ID: true}, {Title: "STATE"}, {Title: "RECIPIENT"}, {Title: "PROJECT", Drop: 3}, {Title: "REQUEST", Drop: 4},
	{Title: "TRIES", Drop: 5}, {Title: "CHANGED", Drop: 6, Least: len(term.TimeForm)}, {Title: "NEXT TRY", Drop: 7, Least: len(term.TimeForm)},
	{Title: "CAUSE", Drop: 1, Least: 12},
}

func notificationsText(s term.Screen, records []notify.Record) string {
	if len(records) == 0 {
		return "no notifications\n"
	}
	table := term.Table{Columns: notificationColumns}
	for _, r := range records {
		table.Add(string(r.Key), string(r.State), r.Recipient, r.ProjectID, r.RequestID,
			strconv.Itoa(r.Tries), term.Time(&r.UpdatedAt), term.Time(&r.NextTryAt), r.Cause)
	}
	return table.Text(s)
}

// replayNotifications replays each key. It goes on after one that cannot be replayed.
func (a *app) replayNotifications(ctx context.Context, c config.Config, keys []string) error {
	return setup.WithJetStream(ctx, c, a.logger(c), func(ctx context.Context, js jetstream.JetStream) error {
		records, faults := []notify.Record{}, []error(nil)
		for _, key := range keys {
			r, err := queue.Replay(ctx, broker.NewPublisher(js), js, notify.Key(key))
			if err != nil {
				faults = append(faults, err)
				continue
			}
			records = append(records, r)
		}
		text := ""
		if len(records) > 0 {
			text = notificationsText(a.screen(), records)
		}
		return errors.Join(append(faults, a.print(records, text))...)
	})
}
