package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) cancelCommand() *cobra.Command {
	var ask events.Cancel
	var wait, restore bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "cancel [PROJECT/]REQUEST_ID",
		Short: "End a request without an export",
		Long: "Asks the workers over NATS to cancel a request, which may wait or run; a running dump\n" +
			"is killed. Nothing of it stays in the storage, and its outcome is\n" +
			"backup.failed with the code cancelled. Cancelling twice has the same result.\n\n" +
			"The exit code is 0 once the cancel is recorded, 3 for an unknown request, and 6 when the\n" +
			"request had ended before.\n\n" +
			"With --restore it cancels a restore by event, in the ledger: its target stays as it is,\n" +
			"unless it has committed the restore already, which then completes.",
		Example: "  pgcourier cancel nightly-2026-11-23\n" +
			"  pgcourier cancel nightly --project acme --wait\n" +
			"  pgcourier cancel acme-staging/clone-7 --restore",
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&ask.ProjectID, "project", "", "the project, when several use the same request id")
	f.StringVar(&ask.RequestedBy, "requested-by", "", "who cancels, for humans (default: the user's name)")
	f.BoolVar(&wait, "wait", false, "wait until the outcome is announced")
	f.DurationVar(&timeout, "timeout", 15*time.Second, "longest wait for a worker's answer")
	f.BoolVar(&restore, "restore", false, "cancel a restore, given as PROJECT/RESTORE_ID; needs the database of the ledger")
	cmd.MarkFlagsMutuallyExclusive("restore", "wait")
	load := a.settingFlags(cmd, slices.Concat(ledgerSettings, brokerSettings)...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		if ask.RequestID, err = config.SplitRequest(args[0], &ask.ProjectID); err != nil {
			return err
		}
		ask.RequestedBy = cmp.Or(ask.RequestedBy, userName())
		if restore {
			return a.cancelRestore(cmd.Context(), c, export.ID{Project: ask.ProjectID, Request: ask.RequestID}, ask.RequestedBy)
		}
		return setup.WithClient(cmd.Context(), c, server.UserOperator, a.logger(c), func(ctx context.Context, client *events.Client) error {
			return a.cancel(ctx, client, ask, wait, timeout)
		})
	})
	return cmd
}

func (a *app) cancel(ctx context.Context, client *events.Client, ask events.Cancel, wait bool, timeout time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	reply, err := client.Cancel(bounded, ask)
	if err != nil {
		return err
	}
	name := term.Sanitize(reply.ProjectID) + "/" + term.Sanitize(reply.RequestID)
	switch reply.Result {
	case events.CancelAccepted:
	case events.CancelUnknown:
		return exitf(exitNotFound, "no request %q is in the ledger or waits in the queue", ask.RequestID)
	case events.CancelTooLate:
		return exitf(exitNotPossible, "%s was not cancelled: %s", name, term.Sanitize(reply.Message))
	case events.CancelAmbiguous, events.CancelInvalid:
		return exitf(exitUsage, "%s", term.Sanitize(reply.Message))
	default:
		return exitf(exitFailed, "%s: %s", reply.Result, term.Sanitize(reply.Message))
	}
	if wait {
		out, err := client.Await(ctx, reply.ProjectID, reply.RequestID)
		if err != nil {
			return err
		}
		if out.Failed == nil || out.Failed.Code != codes.Cancelled {
			return exitf(exitFailed, "the cancel of %s was recorded, but its outcome is another one: see pgcourier show", name)
		}
		reply.Outcome, reply.Code = events.TypeFailed, out.Failed.Code
	}
	return a.print(reply, fmt.Sprintf("cancelled %s\n", name))
}

func (a *app) cancelRestore(ctx context.Context, c config.Config, id export.ID, by string) error {
	if id.Project == "" {
		return exitf(exitUsage, "--restore needs the project: PROJECT/RESTORE_ID")
	}
	out, err := service.CancelRestore(ctx, c, a.logger(c), id, by)
	name := term.Sanitize(id.String())
	switch {
	case errors.Is(err, export.ErrUnknown):
		return exitf(exitNotFound, "no restore %s is in the ledger or waits in the queue", name)
	case err != nil:
		return err
	case out != nil && out.Code != codes.Cancelled:
		return exitf(exitNotPossible, "%s was not cancelled: it had %s before", name, out.State)
	}
	return a.print(map[string]string{"project_id": id.Project, "restore_id": id.Request, "result": "cancelled"}, fmt.Sprintf("cancelled %s\n", name))
}
