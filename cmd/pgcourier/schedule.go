package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/schedule"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) scheduleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "schedule",
		Example: "  pgcourier schedule add acme --cron '0 3 * * *' --tz Europe/Berlin",
		Short:   "Manage recurring exports, which the broker schedules",
		Long: "A schedule is a request that the broker holds and makes due by itself: there is no cron\n" +
			"daemon, and any number of workers make one run of each. It needs nats-server 2.14 or\n" +
			"newer, which the embedded broker is. See docs/schedules.md for missed runs,\n" +
			"overlapping runs and changes of the clock.",
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(a.scheduleAddCommand(), a.scheduleRmCommand(), a.schedulePauseCommand(true), a.schedulePauseCommand(false))
	return cmd
}

func (a *app) scheduleAddCommand() *cobra.Command {
	var r events.Requested
	var name, cron, zone string
	var replace bool
	cmd := &cobra.Command{
		Use:   "add PROJECT",
		Short: "Add a schedule",
		Long: "--cron takes five fields (minute hour day month weekday), six (second first), @hourly,\n" +
			"@daily, @weekly, @monthly, @yearly, or an interval such as '@every 6h'. The export's\n" +
			"options are those of `pgcourier request`. With DATABASE_URL set it warns of a project\n" +
			"that the control plane does not have or that is not active, but adds the schedule.",
		Example: "  pgcourier schedule add acme --cron '0 3 * * *' --tz Europe/Berlin\n" +
			"  pgcourier schedule add acme --name hourly --cron @hourly --format custom --storage-path hourly\n" +
			"  pgcourier schedule add acme --cron '@every 6h' --replace",
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", broker.DefaultSchedule, "name, unique within the project")
	f.StringVar(&cron, "cron", "", "times; required")
	f.StringVar(&zone, "tz", "", "time zone of --cron, such as Europe/Berlin (default: UTC)")
	f.BoolVar(&replace, "replace", false, "replace the schedule with that name")
	term.RequestFlags(cmd, &r)
	_ = cmd.MarkFlagRequired("cron")
	load := a.settingFlags(cmd, append([]string{"DATABASE_URL", "PROJECT_QUERY"}, brokerSettings...)...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		table, err := schedule.Parse(cron, zone, time.Now())
		if err != nil {
			return config.AsError(err)
		}
		if !events.ValidSchedule(name) {
			return exitf(exitUsage, "--name: %q is not 1 to 64 letters, digits, \"_\" or \"-\"", name)
		}
		r.ProjectID, r.RequestedBy = args[0], events.RequestedBySchedule(name)
		body, err := r.Canonical()
		if err != nil {
			return config.AsError(err)
		}
		return setup.WithSchedules(cmd.Context(), c, a.logger(c), func(ctx context.Context, s *broker.Schedules) error {
			add := broker.Schedule{Project: args[0], Name: name, Pattern: table.Pattern(), Zone: table.Zone(), Body: body}
			err := s.Add(ctx, add, replace)
			if errors.Is(err, broker.ErrScheduleExists) {
				return fmt.Errorf("%w: --replace puts this one in its place", err)
			}
			if err != nil {
				return err
			}
			if c.DatabaseURL != "" && project.IsUnknown(ctx, c.DatabaseURL, c.PasswordCommand, c.ProjectQuery, args[0]) {
				fmt.Fprintf(a.stderr, "pgcourier: warning: the control plane has no active project %s: until it has one, each run fails with %s\n",
					term.Sanitize(args[0]), codes.ProjectNotFound)
			}
			return a.printSchedule(ctx, s, args[0], name)
		})
	})
	return cmd
}

func (a *app) scheduleRmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rm PROJECT [NAME]",
		Short:   "Remove a schedule",
		Long:    "Removes a schedule. A run that is in the project's queue already goes on; see cancel.",
		Example: "  pgcourier schedule rm acme\n  pgcourier schedule rm acme hourly",
		Args:    cobra.RangeArgs(1, 2),
	}
	return a.onSchedule(cmd, func(ctx context.Context, s *broker.Schedules, project, name string) error {
		if err := s.Remove(ctx, project, name); err != nil {
			return err
		}
		out := scheduleRemoved{Project: project, Name: name, Removed: true}
		return a.print(out, fmt.Sprintf("removed schedule %s of project %s\n", name, project))
	})
}

// scheduleRemoved is what rm says.
type scheduleRemoved struct {
	Project string `json:"project_id"`
	Name    string `json:"name"`
	Removed bool   `json:"removed"`
}

func (a *app) schedulePauseCommand(paused bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "pause PROJECT [NAME]",
		Short:   "Pause a schedule",
		Example: "  pgcourier schedule pause acme",
		Args:    cobra.RangeArgs(1, 2),
	}
	if !paused {
		cmd.Use, cmd.Short, cmd.Example = "resume PROJECT [NAME]", "Resume a paused schedule", "  pgcourier schedule resume acme"
		cmd.Long = "Resumes a paused schedule at its next time. Runs that were missed meanwhile are left out."
	}
	return a.onSchedule(cmd, func(ctx context.Context, s *broker.Schedules, project, name string) error {
		if _, err := s.Pause(ctx, project, name, paused); err != nil {
			return err
		}
		return a.printSchedule(ctx, s, project, name)
	})
}

// onSchedule lets cmd run do with the schedule that its arguments name, and returns cmd.
func (a *app) onSchedule(cmd *cobra.Command, do func(ctx context.Context, s *broker.Schedules, project, name string) error) *cobra.Command {
	given := cmd.Flags().String("name", "", "the same as NAME (default "+broker.DefaultSchedule+")")
	load := a.settingFlags(cmd, brokerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		project, name, err := scheduleName(args, *given)
		if err != nil {
			return err
		}
		return setup.WithSchedules(cmd.Context(), c, a.logger(c), func(ctx context.Context, s *broker.Schedules) error {
			return do(ctx, s, project, name)
		})
	})
	return cmd
}

func scheduleName(args []string, given string) (project, name string, err error) {
	project, name = args[0], cmp.Or(given, broker.DefaultSchedule)
	if len(args) > 1 {
		if given != "" && given != args[1] {
			return "", "", exitf(exitUsage, "two names are given: %q and --name %q", args[1], given)
		}
		name = args[1]
	}
	if !events.ValidProject(project) || !events.ValidSchedule(name) {
		return "", "", exitf(exitUsage, "%q is no schedule of a project: both are letters, digits, \"_\" and \"-\"", strings.Join(args, " "))
	}
	return project, name, nil
}

// printSchedule prints one schedule as it is now.
func (a *app) printSchedule(ctx context.Context, s *broker.Schedules, project, name string) error {
	one, err := s.Get(ctx, project, name)
	if err != nil {
		return err
	}
	screen := a.screen()
	status := one.Status(screen.Now)
	return a.print(status, screen.Pairs(status.Lines()))
}
