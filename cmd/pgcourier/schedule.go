package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/config"
	"github.com/pgcourier/pgcourier/internal/controlplane"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/project"
	"github.com/pgcourier/pgcourier/internal/schedule"
	"github.com/pgcourier/pgcourier/internal/term"
)

// onlySchedule is the name of a project's schedule when none is given.
const onlySchedule = "default"

func (a *app) scheduleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "schedule",
		Example: "  pgcourier schedule add acme --cron '0 3 * * *' --tz Europe/Berlin",
		Short:   "Export a project again and again, at times that the broker keeps",
		Long: "A schedule is a request that the broker holds and makes due by itself: there is no cron\n" +
			"daemon, and any number of workers make one run of each. It needs nats-server 2.14 or\n" +
			"newer; the embedded broker is. What becomes of missed and overlapping runs and of the\n" +
			"change of clocks is in docs/schedules.md.",
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(a.scheduleAddCommand(), a.scheduleListCommand(), a.scheduleRmCommand(), a.schedulePauseCommand(true), a.schedulePauseCommand(false))
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
			"that the control plane does not have or that is not active, and adds the schedule\n" +
			"all the same.",
		Example: "  pgcourier schedule add acme --cron '0 3 * * *' --tz Europe/Berlin\n" +
			"  pgcourier schedule add acme --name hourly --cron @hourly --format custom --storage-path hourly\n" +
			"  pgcourier schedule add acme --cron '@every 6h' --replace",
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", onlySchedule, "name, unique within the project")
	f.StringVar(&cron, "cron", "", "when; required")
	f.StringVar(&zone, "tz", "", "time zone of --cron, such as Europe/Berlin (default: UTC)")
	f.BoolVar(&replace, "replace", false, "put it in the place of one with that name")
	requestOptions(cmd, &r)
	_ = cmd.MarkFlagRequired("cron")
	load := a.settingFlags(cmd, append([]string{"DATABASE_URL", "PROJECT_QUERY"}, brokerSettings...)...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		table, err := schedule.Parse(cron, zone, time.Now())
		if err != nil {
			return exit(exitUsage, err)
		}
		if !events.ValidSchedule(name) {
			return exitf(exitUsage, "--name: %q is not 1 to 64 letters, digits, \"_\" or \"-\"", name)
		}
		r.ProjectID, r.RequestedBy = args[0], events.RequestedBySchedule(name)
		body, err := r.Canonical()
		if err != nil {
			return exit(exitUsage, err)
		}
		return a.withSchedules(cmd.Context(), c, func(ctx context.Context, s *broker.Schedules) error {
			add := broker.Schedule{Project: args[0], Name: name, Pattern: table.Pattern(), Zone: table.Zone(), Body: body}
			if err := s.Add(ctx, add, replace); err != nil {
				return err
			}
			a.warnOfUnknown(ctx, c, args[0])
			return a.printSchedule(ctx, s, args[0], name)
		})
	})
	return cmd
}

// lookPatience bounds a look at the control plane that a command can do without.
const lookPatience = 3 * time.Second

// warnOfUnknown says that a project is none of the control plane's, where that can be seen.
// It is no error: the project may come later, and the control plane need not be in reach.
func (a *app) warnOfUnknown(ctx context.Context, c config.Config, id string) {
	if c.DatabaseURL == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	pool, err := controlplane.Connect(ctx, c.DatabaseURL)
	if err != nil {
		return
	}
	defer pool.Close()
	_, err = project.New(pool, c.ProjectQuery).Lookup(ctx, id)
	if f, ok := errors.AsType[*export.Fault](err); ok && f.Code == codes.ProjectNotFound {
		fmt.Fprintf(a.stderr, "pgcourier: warning: the control plane has no active project %s: until it has one, each run fails with %s\n", term.Sanitize(id), f.Code)
	}
}

func (a *app) scheduleListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list [PROJECT]",
		Short:   "List schedules and when they are due",
		Example: "  pgcourier schedule list\n  pgcourier schedule list acme --output json",
		Args:    cobra.MaximumNArgs(1),
	}
	load := a.settingFlags(cmd, brokerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		project := strings.Join(args, "")
		if len(args) > 0 && !events.ValidProject(project) {
			return exitf(exitUsage, "%q is no project id", project)
		}
		return a.withSchedules(cmd.Context(), c, func(ctx context.Context, s *broker.Schedules) error {
			found, err := s.List(ctx, project)
			if err != nil {
				return err
			}
			screen := a.screen()
			entries := []scheduleEntry{}
			for _, one := range found {
				entries = append(entries, newScheduleEntry(one, screen.Now))
			}
			slices.SortFunc(entries, func(x, y scheduleEntry) int {
				return strings.Compare(x.Project+"\x00"+x.Name, y.Project+"\x00"+y.Name)
			})
			return a.print(entries, schedulesText(screen, entries))
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
	given := nameFlag(cmd)
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
		return a.withSchedules(cmd.Context(), c, func(ctx context.Context, s *broker.Schedules) error {
			if err := s.Remove(ctx, project, name); err != nil {
				return err
			}
			out := scheduleRemoved{Project: project, Name: name, Removed: true}
			return a.print(out, fmt.Sprintf("removed schedule %s of project %s\n", name, project))
		})
	})
	return cmd
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
		Short:   "Keep a schedule and make nothing due",
		Example: "  pgcourier schedule pause acme",
		Args:    cobra.RangeArgs(1, 2),
	}
	if !paused {
		cmd.Use, cmd.Short, cmd.Example = "resume PROJECT [NAME]", "Let a paused schedule go on", "  pgcourier schedule resume acme"
		cmd.Long = "Lets a paused schedule go on with its next time; what was missed in between is left out."
	}
	given := nameFlag(cmd)
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
		return a.withSchedules(cmd.Context(), c, func(ctx context.Context, s *broker.Schedules) error {
			if _, err := s.Pause(ctx, project, name, paused); err != nil {
				return err
			}
			return a.printSchedule(ctx, s, project, name)
		})
	})
	return cmd
}

// nameFlag lets a schedule be named as it was to add it.
func nameFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("name", "", "the same as NAME (default "+onlySchedule+")")
}

func scheduleName(args []string, given string) (project, name string, err error) {
	project, name = args[0], cmp.Or(given, onlySchedule)
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

func (a *app) printSchedule(ctx context.Context, s *broker.Schedules, project, name string) error {
	one, err := s.Get(ctx, project, name)
	if err != nil {
		return err
	}
	screen := a.screen()
	entry := newScheduleEntry(one, screen.Now)
	return a.print(entry, scheduleText(screen, entry))
}

// withSchedules connects to the broker's schedules for one command.
func (a *app) withSchedules(ctx context.Context, c config.Config, do func(context.Context, *broker.Schedules) error) error {
	return a.withJetStream(ctx, c, func(ctx context.Context, js jetstream.JetStream) error {
		s, err := broker.OpenSchedules(ctx, js)
		if err == nil {
			err = do(ctx, s)
		}
		switch {
		case errors.Is(err, broker.ErrNoSchedule):
			return exit(exitNotFound, err)
		case errors.Is(err, broker.ErrSchedulePattern), errors.Is(err, broker.ErrScheduleZone):
			return exit(exitUsage, err)
		case errors.Is(err, broker.ErrScheduleExists):
			return exit(exitNotPossible, fmt.Errorf("%w: --replace puts this one in its place", err))
		case errors.Is(err, broker.ErrNoSchedules), errors.Is(err, broker.ErrNotSetUp), errors.Is(err, broker.ErrScheduleChanged):
			return exit(exitNotPossible, err)
		}
		return err
	})
}
