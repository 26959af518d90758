package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/term"
)

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
		return setup.WithSchedules(cmd.Context(), c, a.logger(c), func(ctx context.Context, s *broker.Schedules) error {
			found, err := s.List(ctx, project)
			if err != nil {
				return err
			}
			screen := a.screen()
			entries := []broker.ScheduleStatus{}
			for _, one := range found {
				entries = append(entries, one.Status(screen.Now))
			}
			slices.SortFunc(entries, func(x, y broker.ScheduleStatus) int {
				return strings.Compare(x.Project+"\x00"+x.Name, y.Project+"\x00"+y.Name)
			})
			return a.print(entries, schedulesText(screen, entries))
		})
	})
	return cmd
}

var scheduleColumns = []term.Column{
	{Title: "PROJECT", ID: true}, {Title: "NAME", ID: true}, {Title: "STATE", Least: 6}, {Title: "SCHEDULE", Least: 11}, {Title: "ZONE", Drop: 1},
	{Title: "NEXT", Least: 26}, {Title: "THEN", Drop: 3, Least: 26}, {Title: "LAST", Drop: 2},
}

func schedulesText(s term.Screen, entries []broker.ScheduleStatus) string {
	if len(entries) == 0 {
		return "no schedules\n"
	}
	table := term.Table{Columns: scheduleColumns}
	for _, e := range entries {
		next := []string{"-", "-"}
		for i, at := range e.Next[:min(len(e.Next), len(next))] {
			next[i] = e.Local(at)
		}
		table.Add(e.Project, e.Name, e.State, e.Times, e.Zone, next[0], next[1], s.Age(e.LastDue))
	}
	return table.Text(s)
}
