package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) requestCommand() *cobra.Command {
	var r events.Requested
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "request PROJECT",
		Short: "Ask for an export of a project",
		Long: "Publishes backup.requested for one project, as a gateway would. With --wait it\n" +
			"follows the export and exits 0 when it completed, 1 when it failed.\n\n" +
			"Asking again with the same --id and the same contents gives the first outcome.",
		Example: "  pgcourier request acme --wait\n" +
			"  pgcourier request acme --id nightly-2026-11-23 --format custom --compression zstd\n" +
			"  pgcourier request acme --format directory --jobs 4 --compression zstd --wait\n" +
			"  pgcourier request acme --schema tenant_acme --metadata ticket=4711\n" +
			"  pgcourier request acme --recipient age1... --deliver ttl=48h,max-downloads=3",
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&r.RequestID, "id", "", "request id, unique within the project (default: a fresh one)")
	term.RequestFlags(cmd, &r)
	f.StringVar(&r.RequestedBy, "requested-by", "", "who asks, for humans (default: the user's name)")
	f.BoolVar(&wait, "wait", false, "follow the export until its outcome")
	f.DurationVar(&timeout, "timeout", 0, "give up waiting after this time; the export goes on (default: never)")
	load := a.settingFlags(cmd, brokerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		r.ProjectID = args[0]
		r.RequestedBy = cmp.Or(r.RequestedBy, userName())
		ctx := cmd.Context()
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no outcome within %s; the export goes on", timeout))
			defer cancel()
		}
		return setup.WithClient(ctx, c, server.UserGateway, a.logger(c), func(ctx context.Context, client *events.Client) error {
			return a.request(ctx, client, r, wait)
		})
	})
	return cmd
}

func (a *app) request(ctx context.Context, client *events.Client, r events.Requested, wait bool) error {
	id, err := client.RequestBackup(ctx, r)
	if errors.Is(err, events.ErrQueueFull) {
		return fmt.Errorf("%w: the limit is the workers' MAX_WAITING_PER_PROJECT; ask again when one of its requests has ended", err)
	}
	if err != nil {
		return err
	}
	if !wait {
		queued := map[string]string{"project_id": r.ProjectID, "request_id": id}
		return a.print(queued, fmt.Sprintf("queued %s of project %s; follow it with: pgcourier watch %s --project %s\n", id, r.ProjectID, id, r.ProjectID))
	}
	out, err := a.await(ctx, client, r.ProjectID, id)
	if err != nil {
		return err
	}
	if !out.Answers(r) {
		return exitf(exitFailed, "refused: the id %s belongs to an earlier request of %s with other contents", id, r.ProjectID)
	}
	if err := a.print(term.EventJSON(events.Event{Outcome: out}), a.screen().OutcomeText(out)); err != nil {
		return err
	}
	if f := out.Failed; f != nil {
		return exitf(exitFailed, "the export of %s failed: %s", r.ProjectID, f.Code)
	}
	return nil
}
