package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) cloneCommand() *cobra.Command {
	var r events.RestoreRequested
	var replace, wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "clone FROM TO",
		Short: "Restore a project's export into a project",
		Long: "Publishes restore.requested: a restorer restores an export of the project FROM into the\n" +
			"project TO, in one transaction. Both may be the same project. The database and the schema\n" +
			"are the control plane's answer for TO (RESTORE_QUERY), which also says from which projects\n" +
			"TO accepts exports, and whether what it holds may be replaced. With --wait it follows the\n" +
			"restore and exits 0 when it completed, 1 when it failed.\n\n" +
			"Asking again with the same --restore-id and the same contents gives the first outcome.",
		Example: "  pgcourier clone acme acme-staging --wait\n" +
			"  pgcourier clone acme acme-staging --plan --wait\n" +
			"  pgcourier clone acme acme --export nightly-42 --table acme.invoices --replace --wait",
		Args: cobra.ExactArgs(2),
	}
	f := cmd.Flags()
	f.StringVar(&r.From.RequestID, "export", events.LatestExport, "request id of the export, or latest or latest_verified")
	f.StringVar(&r.RestoreID, "restore-id", "", "id of the restore, unique within TO (default: a fresh one)")
	f.BoolVar(&replace, "replace", false, "replace what TO holds; the old data is kept for RESTORE_KEEP")
	f.StringArrayVar(&r.Schemas, "schema", nil, "restore only this schema of the export; may be repeated")
	f.StringArrayVar(&r.Tables, "table", nil, "restore only this table, SCHEMA.NAME as in the export; may be repeated")
	f.BoolVar(&r.Plan, "plan", false, "change nothing: say what the restore would do and what cannot be restored")
	f.StringToStringVar(&r.Metadata, "metadata", nil, "labels for the outcome, as key=value")
	f.StringVar(&r.RequestedBy, "requested-by", "", "who asks, for humans (default: the user's name)")
	f.BoolVar(&wait, "wait", false, "follow the restore until its outcome")
	f.DurationVar(&timeout, "timeout", 0, "give up waiting after this time; the restore goes on (default: never)")
	load := a.settingFlags(cmd, brokerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		r.From.ProjectID, r.ProjectID = args[0], args[1]
		r.RequestedBy = cmp.Or(r.RequestedBy, userName())
		if replace {
			r.Mode = events.RestoreReplace
		}
		ctx := cmd.Context()
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no outcome within %s; the restore goes on", timeout))
			defer cancel()
		}
		return setup.WithClient(ctx, c, server.UserGateway, a.logger(c), func(ctx context.Context, client *events.Client) error {
			return a.clone(ctx, client, r, wait)
		})
	})
	return cmd
}

func (a *app) clone(ctx context.Context, client *events.Client, r events.RestoreRequested, wait bool) error {
	id, err := client.RequestRestore(ctx, r)
	if errors.Is(err, events.ErrQueueFull) {
		return fmt.Errorf("%w: ask again when one of its restores has ended", err)
	}
	if errors.Is(err, events.ErrNoRestores) {
		return exitf(exitFailed, "%w: start a process with the role restorer, or run pgcourier broker setup", err)
	}
	if err != nil {
		return err
	}
	if !wait {
		queued := map[string]string{"project_id": r.ProjectID, "restore_id": id}
		return a.print(queued, fmt.Sprintf("queued restore %s into project %s\n", id, r.ProjectID))
	}
	m := a.progress()
	defer m.Close()
	for e, err := range client.WatchRestore(ctx, r.ProjectID, id) {
		switch {
		case err != nil:
			return err
		case e.RestoreProgress != nil:
			m.Bytes(e.RestoreProgress.Stage, e.RestoreProgress.ReadBytes, e.RestoreProgress.StoredBytes)
		case e.RestoreCompleted != nil, e.RestoreFailed != nil:
			m.Close()
			if err := a.print(term.EventJSON(e), term.RestoreText(e)); err != nil {
				return err
			}
			if f := e.RestoreFailed; f != nil {
				return exitf(exitFailed, "the restore into %s failed: %s", r.ProjectID, f.Code)
			}
			return nil
		}
	}
	return ctx.Err()
}

// asEvent adds --as-event to the command restore: the restore is then asked for as clone does.
func (a *app) asEvent(cmd *cobra.Command) *cobra.Command {
	var event bool
	var into string
	f := cmd.Flags()
	f.BoolVar(&event, "as-event", false, "let a restorer do it: publish restore.requested as clone does, and wait for the outcome. ID is then PROJECT/REQUEST, and --to is not needed")
	f.StringVar(&into, "into", "", "with --as-event: the project to restore into (default: the export's)")
	direct := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !event {
			return direct(cmd, args)
		}
		project := ""
		id, err := config.SplitRequest(args[0], &project)
		if err != nil || project == "" {
			return exitf(exitUsage, "--as-event needs the export as PROJECT/REQUEST")
		}
		to, _, err := cmd.Root().Find([]string{"clone"})
		cmd.Flags().Visit(func(f *pflag.Flag) {
			if to.Flags().Lookup(f.Name) == nil && !slices.Contains([]string{"as-event", "into", "output"}, f.Name) {
				err = errors.Join(err, exitf(exitUsage, "--%s does not go with --as-event: the control plane says where and how", f.Name))
			}
		})
		if err != nil {
			return err
		}
		if err := errors.Join(to.Flags().Set("export", id), to.Flags().Set("wait", "true")); err != nil {
			return err
		}
		return delegate(cmd, []string{project, cmp.Or(into, project)}, "clone")
	}
	return cmd
}
