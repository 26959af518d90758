package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker/server"
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
		return a.withClient(cmd.Context(), c, server.UserOperator, func(ctx context.Context, client *events.Client) error {
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
		view = jsonView{a.stdout}
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
	if f, ok := a.stdout.(*os.File); ok && isTerminal(f) {
		return newBars(f, a.screen())
	}
	return lineView{a}
}

type noView struct{}

func (noView) show(events.Event) {}
func (noView) close()            {}

type jsonView struct{ w io.Writer }

func (v jsonView) show(e events.Event) { _ = writeJSONLine(v.w, eventJSON(e)) } // a closed pipe ends the process
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
	case e.Verified != nil:
		return typed{events.TypeVerified, e.Verified}
	case e.VerificationFailed != nil:
		return typed{events.TypeVerificationFailed, e.VerificationFailed}
	case e.Expiring != nil:
		return typed{events.TypeExpiring, e.Expiring}
	case e.Expired != nil:
		return typed{events.TypeExpired, e.Expired}
	default:
		return typed{events.TypeFailed, e.Failed}
	}
}

type lineView struct{ *app }

func (v lineView) show(e events.Event) { fmt.Fprintln(v.stdout, screen{}.eventLine(e)) }
func (lineView) close()                {}

// eventLine is an event in one line.
func (s screen) eventLine(e events.Event) string {
	project, id := e.IDs()
	name := shown(project) + "/" + shown(id)
	var state, rest string
	switch {
	case e.Started != nil:
		state, rest = "started", fmt.Sprintf("attempt %d, about %s", e.Started.Attempt, size(e.Started.EstimatedBytes))
	case e.Progress != nil:
		state, rest = "running", fmt.Sprintf("%s read, %s stored  %s", size(e.Progress.SizeBytes), size(e.Progress.StoredBytes), shown(e.Progress.Table))
	case e.Completed != nil:
		c := e.Completed
		state, rest = "completed", fmt.Sprintf("%s, %d rows, %s", size(c.StoredBytes), c.Rows, time.Duration(c.DurationMS)*time.Millisecond)
	case e.Verified != nil:
		v := e.Verified
		state, rest = "verified", fmt.Sprintf("%d rows restored into PostgreSQL %s, %s", v.Rows, shown(v.ServerVersion), time.Duration(v.DurationMS)*time.Millisecond)
	case e.VerificationFailed != nil:
		state, rest = "damaged", string(e.VerificationFailed.Code)+": "+shown(e.VerificationFailed.Message)
	case e.Expiring != nil:
		state, rest = "expiring", fmt.Sprintf("at %s: %s", clock(&e.Expiring.ExpiresAt), shown(e.Expiring.Reason))
	case e.Expired != nil:
		state, rest = "expired", shown(e.Expired.Reason)
	default:
		state, rest = "failed", string(e.Failed.Code)+": "+shown(e.Failed.Message)
	}
	const word = len("completed")
	before := name + "  "
	rest = strings.Repeat(" ", word-len(state)) + "  " + rest
	if s.width > 0 {
		rest = narrow().Truncate(rest, max(s.width-narrow().StringWidth(before)-len(state), 0), "…")
	}
	return before + s.word(state) + rest
}
