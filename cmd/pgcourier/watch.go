package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) watchCommand() *cobra.Command {
	var project string
	var restores bool
	cmd := &cobra.Command{
		Use:   "watch [REQUEST_ID]",
		Short: "Watch exports, or restores, as they run",
		Long: "Shows progress and outcomes as they are announced: bars on a terminal, else a line\n" +
			"for each event. With a request id and --project it ends with that request's outcome.",
		Example: "  pgcourier watch\n" +
			"  pgcourier watch --project acme --output json\n" +
			"  pgcourier watch nightly-2026-11-23 --project acme\n" +
			"  pgcourier watch acme-staging/clone-7 --restores",
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().StringVar(&project, "project", "", "only this project's")
	cmd.Flags().BoolVar(&restores, "restores", false, "watch restores by event instead; --project is the one restored into")
	load := a.settingFlags(cmd, brokerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		id := ""
		if len(args) == 1 {
			if id, err = config.SplitRequest(args[0], &project); err != nil {
				return err
			}
		}
		return setup.WithClient(cmd.Context(), c, server.UserOperator, a.logger(c), func(ctx context.Context, client *events.Client) error {
			view := term.NewEvents(a.stdout, a.environ, a.output == "json")
			defer view.Close()
			if restores {
				e, err := view.FollowRestores(ctx, client, project, id)
				if f := e.RestoreFailed; f != nil {
					return exitf(exitFailed, "the restore into %s failed: %s", f.ProjectID, f.Code)
				}
				return err
			}
			out, err := view.Follow(ctx, client, project, id)
			if errors.Is(err, context.Canceled) {
				return nil // the user has seen enough
			}
			if err != nil {
				return err
			}
			if f := out.Failed; f != nil {
				return exitf(exitFailed, "the export of %s failed: %s", f.ProjectID, f.Code)
			}
			return nil
		})
	})
	return cmd
}
