package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/pgcourier/pgcourier/events"
)

func (a *app) watchCommand() *cobra.Command {
	var project string
	cmd := &cobra.Command{
		Use:   "watch [REQUEST_ID]",
		Short: "Watch exports as they run",
		Long: "Shows progress and outcomes as they are announced: bars on a terminal, else a line\n" +
			"for each event. With a request id and --project it ends with that request's outcome.",
		Example: "  pgcourier watch\n" +
			"  pgcourier watch --project acme --output json\n" +
			"  pgcourier watch nightly-2026-11-23 --project acme",
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().StringVar(&project, "project", "", "only this project's")
	load := a.settingFlags(cmd, brokerSettings...)
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		id := ""
		if len(args) == 1 {
			id = args[0]
		}
		return a.withClient(cmd.Context(), c, func(ctx context.Context, client *events.Client) error {
			out, err := a.follow(ctx, client, project, id, true)
			if errors.Is(err, context.Canceled) {
				return nil // the user has seen enough
			}
			if err != nil {
				return clientFault(err)
			}
			if f := out.Failed; f != nil {
				return exitf(exitFailed, "the export of %s failed: %s", f.ProjectID, f.Code)
			}
			return nil
		})
	})
	return cmd
}

// follow shows events until ctx ends or, of one request, its outcome came, which it
// returns. Nothing is shown when show is false.
func (a *app) follow(ctx context.Context, client *events.Client, project, id string, show bool) (events.Outcome, error) {
	var view viewer = noView{}
	switch {
	case !show:
	case a.output == "json":
		view = jsonView{json.NewEncoder(a.stdout)}
	default:
		view = a.textView()
	}
	defer view.close()
	for e, err := range client.Watch(ctx, project, id) {
		if err != nil {
			return events.Outcome{}, err
		}
		view.show(e)
		// Without a project several requests may bear the id: the first to end is meant.
		if id != "" && (e.Completed != nil || e.Failed != nil) {
			return e.Outcome, nil
		}
	}
	return events.Outcome{}, context.Cause(ctx)
}

// viewer shows events.
type viewer interface {
	show(e events.Event)
	close()
}

// textView draws bars on a terminal, and writes lines elsewhere.
func (a *app) textView() viewer {
	if f, ok := a.stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return newBars(f)
	}
	return lineView{a}
}

type noView struct{}

func (noView) show(events.Event) {}
func (noView) close()            {}

type jsonView struct{ enc *json.Encoder }

func (v jsonView) show(e events.Event) { _ = v.enc.Encode(eventJSON(e)) } // a closed pipe ends the process
func (jsonView) close()                {}

// eventJSON is an event with its type, as --output json shows it.
func eventJSON(e events.Event) any {
	type typed struct {
		Type  string `json:"type"`
		Event any    `json:"event"`
	}
	switch {
	case e.Started != nil:
		return typed{events.TypeStarted, e.Started}
	case e.Progress != nil:
		return typed{events.TypeProgress, e.Progress}
	case e.Completed != nil:
		return typed{events.TypeCompleted, e.Completed}
	default:
		return typed{events.TypeFailed, e.Failed}
	}
}

type lineView struct{ *app }

func (v lineView) show(e events.Event) { fmt.Fprintln(v.stdout, eventLine(e)) }
func (lineView) close()                {}

// eventLine is an event in one line.
func eventLine(e events.Event) string {
	project, id := e.IDs()
	name := shown(project) + "/" + shown(id)
	switch {
	case e.Started != nil:
		return fmt.Sprintf("%s  started    attempt %d, about %s", name, e.Started.Attempt, size(e.Started.EstimatedBytes))
	case e.Progress != nil:
		return fmt.Sprintf("%s  running    %s read, %s stored  %s", name, size(e.Progress.SizeBytes), size(e.Progress.StoredBytes), shown(e.Progress.Table))
	case e.Completed != nil:
		c := e.Completed
		return fmt.Sprintf("%s  completed  %s, %d rows, %s", name, size(c.StoredBytes), c.Rows, time.Duration(c.DurationMS)*time.Millisecond)
	default:
		return fmt.Sprintf("%s  failed     %s: %s", name, e.Failed.Code, shown(e.Failed.Message))
	}
}
