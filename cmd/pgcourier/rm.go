package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/stored"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) rmCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "rm ID",
		Short: "Delete a stored export from every destination",
		Long: "Deletes an export and reports the result for each destination: deleted, absent,\n" +
			"hidden if a bucket keeps an old version of it, or tombstoned if an empty file replaces it\n" +
			"(a Telegram bot deletes messages for 48 hours only). With\n" +
			"DATABASE_URL the ledger records the time; the request's outcome does not change. The\n" +
			"command may be repeated.\n\n" + idHelp,
		Example: "  pgcourier rm nightly-42\n  pgcourier rm acme/nightly-42 --yes --storage s3://backups/prod",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	open, from := a.readingFlags(cmd, ledgerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) (err error) {
		x, c, err := open()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, x.Close()) }()
		rm := func(ctx context.Context, led *ledger.Ledger, _ *project.Projects) error {
			if led != nil {
				if err := x.Set.Bind(ctx, led); err != nil {
					return err
				}
			}
			what, err := x.Objects(ctx, args[0], led)
			if err == nil && !yes {
				err = a.confirm(ctx, what, x.Set.Names())
			}
			if err != nil {
				return err
			}
			out, faults := x.Remove(ctx, what)
			if len(faults) == 0 && led != nil && *from == "" {
				if _, err := led.Remove(ctx, what.ID); err != nil {
					return fmt.Errorf("deleted, but not recorded in the ledger (repeat the command): %w", err)
				}
			}
			var text strings.Builder
			for _, r := range out {
				fmt.Fprintf(&text, "%s: %s at %s\n", term.Sanitize(r.Key), r.Result, r.From)
			}
			return errors.Join(append(faults, a.print(out, text.String()))...)
		}
		if c.DatabaseURL == "" {
			return rm(cmd.Context(), nil, nil)
		}
		return service.WithLedger(cmd.Context(), c, rm)
	})
	return cmd
}

// confirm asks on a terminal. Without one --yes is the answer.
func (a *app) confirm(ctx context.Context, what stored.Objects, names []string) error {
	if !term.IsTerminal(a.stdin) {
		return exitf(exitUsage, "rm deletes %s for good: confirm with --yes", what.ID)
	}
	fmt.Fprintf(a.stderr, "Delete %s (%s) from %s for good? Type yes: ",
		term.Sanitize(what.ID.String()), term.Sanitize(strings.Join(what.Keys, ", ")), strings.Join(names, ", "))
	answer, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != "yes" || ctx.Err() != nil {
		return exitf(exitFailed, "nothing was deleted")
	}
	return nil
}
