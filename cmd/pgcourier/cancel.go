package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
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
			"With --restore it asks the restorers to cancel a restore by event: its target stays as\n" +
			"it is, unless it has committed the restore already, which then completes. If no restorer\n" +
			"answers and the database is given, the cancel is recorded in the ledger.",
		Example: "  pgcourier cancel nightly-2026-11-23\n  pgcourier cancel nightly --project acme --wait\n" +
			"  pgcourier cancel acme-staging/clone-7 --restore",
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&ask.ProjectID, "project", "", "the project, when several use the same request id")
	f.StringVar(&ask.RequestedBy, "requested-by", "", "who cancels, for humans (default: the user's name)")
	f.BoolVar(&wait, "wait", false, "wait until the outcome is announced")
	f.DurationVar(&timeout, "timeout", 15*time.Second, "longest wait for an answer")
	f.BoolVar(&restore, "restore", false, "cancel a restore by event, not an export")
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
			return a.cancelRestore(cmd.Context(), c, events.RestoreCancel{RestoreID: ask.RequestID, ProjectID: ask.ProjectID, RequestedBy: ask.RequestedBy}, timeout)
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
	if err := refusedCancel(reply.Result, "request", ask.RequestID, name, reply.Message); err != nil {
		return err
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

func (a *app) cancelRestore(ctx context.Context, c config.Config, ask events.RestoreCancel, timeout time.Duration) error {
	reply, err := service.CancelRestore(ctx, c, a.logger(c), ask, timeout)
	if err != nil {
		return err
	}
	name := term.Sanitize(reply.ProjectID) + "/" + term.Sanitize(reply.RestoreID)
	if err := refusedCancel(reply.Result, "restore", ask.RestoreID, name, reply.Message); err != nil {
		return err
	}
	return a.print(reply, fmt.Sprintf("cancelled %s\n", name))
}

// refusedCancel returns the error of a cancel that was not recorded.
func refusedCancel(r events.CancelResult, noun, asked, name, message string) error {
	switch r {
	case events.CancelAccepted:
		return nil
	case events.CancelUnknown:
		return exitf(exitNotFound, "no %s %q is in the ledger or waits in the queue", noun, asked)
	case events.CancelTooLate:
		return exitf(exitNotPossible, "%s was not cancelled: %s", name, term.Sanitize(message))
	case events.CancelAmbiguous, events.CancelInvalid:
		return exitf(exitUsage, "%s", term.Sanitize(message))
	case events.CancelUnavailable: // and any result that this version does not know
	}
	return exitf(exitFailed, "%s: %s", r, term.Sanitize(message))
}
