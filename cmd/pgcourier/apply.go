package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) applyCommand() *cobra.Command {
	var file string
	var dryRun, prune bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make schedules, tokens and retention as a file declares them",
		Long: "Compares the file with the broker's schedules, the API's tokens and the ledger's rules of\n" +
			"retention, prints the differences, and applies them. A second run changes nothing.\n" +
			"With --dry-run it only prints.\n\n" +
			"A token is identified by its project and label. Its scopes can change, its secret stays.\n" +
			"The secret of a new one goes into its file, or is printed once. A rule of retention\n" +
			"applies to projects whose row has none, and overrides RETENTION. With --prune, what\n" +
			"an earlier apply made is removed if the file lists its kind without it; what was made\n" +
			"in another way stays. The form of the file is in docs/schedules.md.",
		Example: "  pgcourier apply -f platform.yaml --dry-run\n" +
			"  pgcourier apply -f platform.yaml --prune\n" +
			"  generate-platform | pgcourier apply -f -",
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the file, YAML; - for standard input; required")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing")
	cmd.Flags().BoolVar(&prune, "prune", false, "remove what an earlier apply made and the file no longer has")
	_ = cmd.MarkFlagRequired("file")
	load := a.settingFlags(cmd, append(ledgerSettings, brokerSettings...)...)
	cmd.RunE = coded(func(cmd *cobra.Command, _ []string) error {
		text, err := a.readInput(file)
		if err != nil {
			return exitf(exitUsage, "--file: %w", err)
		}
		platform, err := service.ParsePlatform(text, prune, time.Now())
		if err != nil {
			return exitf(exitUsage, "%s: %w", term.Sanitize(file), err)
		}
		c, err := load()
		if err != nil {
			return err
		}
		return a.withRecords(cmd.Context(), c, platform, prune, func(ctx context.Context, r service.Records) error {
			changes, err := platform.Compare(ctx, r, prune, time.Now())
			if err != nil {
				return err
			}
			return a.applyChanges(ctx, changes, dryRun)
		})
	})
	return cmd
}

// readInput returns the contents of a file; "-" is standard input.
func (a *app) readInput(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(a.stdin)
	}
	return os.ReadFile(file) //nolint:gosec // the operator names the file
}

// withRecords opens what the platform's file needs.
func (a *app) withRecords(ctx context.Context, c config.Config, p service.Platform, prune bool, do func(context.Context, service.Records) error) error {
	r := service.Records{By: userName()}
	schedules, records := p.Needs(prune)
	withLedger := func(ctx context.Context) error {
		if !records {
			return do(ctx, r)
		}
		return service.WithLedger(ctx, c, func(ctx context.Context, l *ledger.Ledger, _ *project.Projects) error {
			r.Ledger = l
			return do(ctx, r)
		})
	}
	if !schedules {
		return withLedger(ctx)
	}
	return setup.WithSchedules(ctx, c, a.logger(c), func(ctx context.Context, s *broker.Schedules) error {
		r.Schedules = s
		return withLedger(ctx)
	})
}

// applyChanges prints the changes and makes them. What was made before an error stays and is printed.
func (a *app) applyChanges(ctx context.Context, changes []service.Change, dryRun bool) (err error) {
	if a.output == "text" {
		fmt.Fprint(a.stdout, changesText(changes, dryRun))
	}
	made := 0
	for i := range changes {
		if dryRun || changes[i].Action == service.Keep {
			continue
		}
		if err = changes[i].Apply(ctx); err != nil {
			changes = changes[:i]
			break
		}
		made++
		if secret := changes[i].Token; secret != "" && a.output == "text" {
			fmt.Fprintf(a.stdout, "token %s of project %s: %s\n", term.Sanitize(changes[i].Name), term.Sanitize(changes[i].Project), secret)
		}
	}
	if a.output == "json" {
		if changes == nil {
			changes = []service.Change{}
		}
		if printed := a.print(changes, ""); err == nil {
			err = printed
		}
		return err
	}
	if !dryRun && made > 0 {
		fmt.Fprintf(a.stdout, "%d made\n", made)
	}
	return err
}

// changesText lists what differs.
func changesText(changes []service.Change, dryRun bool) string {
	var b strings.Builder
	different := 0
	for _, c := range changes {
		if c.Action == service.Keep {
			continue
		}
		different++
		fmt.Fprintf(&b, "%s %s\n", c.Action, term.Sanitize(c.String()))
		for _, f := range c.Fields {
			fmt.Fprintf(&b, "  %s\n", term.Sanitize(f.String()))
		}
	}
	switch {
	case different == 0:
		return fmt.Sprintf("nothing to do: all %d are as declared\n", len(changes))
	case dryRun:
		fmt.Fprintf(&b, "%d to be made; nothing was changed\n", different)
	}
	return b.String()
}
