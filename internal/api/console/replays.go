package console

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/replay"
)

const (
	// mostReplays bounds the replays of one form. Their names must fit into its 64 KiB.
	mostReplays = 200
	// replaySince is how far back all that match are looked for without a date.
	replaySince = 7 * 24 * time.Hour
)

// confirmReplays asks before several exports are replayed: the selected ones, or with match all that
// failed with a code, of a project, since a date.
func (v *view) confirmReplays() error {
	if err := v.Require(api.ReplayExport); err != nil {
		return err
	}
	q := v.r.URL.Query()
	d := confirmData{
		Explain: []string{
			"Each of these requests is published again under a new id. They keep their outcomes.",
			"Replaying twice gives one request: where a replay waits, runs or has completed, no second one begins.",
		},
		Back: Prefix + "exports?state=failed", Action: Prefix + "replay",
	}
	names := slices.DeleteFunc(q["of"], func(name string) bool {
		project, id, _ := strings.Cut(name, "/")
		return !events.ValidProject(project) || !events.ValidRequest(id)
	})
	if q.Get("match") != "" {
		since, ok := day(q.Get("from"))
		f := replay.Filter{Project: v.parameter("project"), Code: codes.Code(v.parameter("code")), Since: replaySince}
		if ok && !since.IsZero() {
			f.Since = time.Since(since)
		} else {
			d.Explain = append(d.Explain, "These are the failures of the last seven days.")
		}
		items, err := v.Failures(v.r.Context(), f)
		if err != nil {
			return err
		}
		names = nil
		for _, item := range items {
			if item.Verdict == replay.Due {
				names = append(names, item.Failed.ProjectID+"/"+item.Failed.RequestID)
			}
		}
	}
	if len(names) > mostReplays {
		d.Warning = fmt.Sprintf("%s match. These are the first %d, oldest failure first; do this again for the others.", count(len(names)), mostReplays)
		names = names[:mostReplays]
	}
	if len(names) == 0 {
		v.status(http.StatusOK, "There is nothing to replay", "No export was selected, or each failure that matches has a replay that waits, runs or has completed.")
		return nil
	}
	d.Names, d.Label = names, fmt.Sprintf("Ask for %s again", plural(len(names), "export"))
	for _, n := range names {
		d.Hidden = append(d.Hidden, field{"of", n})
	}
	return v.show("confirm", frame{Title: "Replay " + plural(len(names), "export"), Tab: "Exports", Crumbs: []crumb{{"Exports", pathOf("exports")}}, Body: d})
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return count(n) + " " + what + "s"
}

// replayed is the result of one replay.
type replayed struct {
	Name, Path string // of the failed export
	Next, To   string // the new one
	Fault      string
}

// replaysData is the content of the page after several replays.
type replaysData struct {
	Results      []replayed
	Done, Failed int
}

func (v *view) replays() error {
	if err := v.Require(api.ReplayExport); err != nil {
		return err
	}
	names := v.r.PostForm["of"]
	if len(names) > mostReplays {
		names = names[:mostReplays]
	}
	var d replaysData
	for _, name := range names {
		project, id, _ := strings.Cut(name, "/")
		r := replayed{Name: name, Path: pathOf("exports", project, id)}
		e, err := v.Replay(v.r.Context(), api.ExportPath{ProjectPath: api.ProjectPath{Project: project}, ID: id})
		if err == nil {
			r.Next, r.To = e.RequestID, pathOf("exports", e.ProjectID, e.RequestID)
			d.Done++
		} else {
			r.Fault = sentence(v.console.API.ProblemOf(v.r.Context(), err).Detail)
			d.Failed++
		}
		d.Results = append(d.Results, r)
	}
	return v.show("replays", frame{Title: "Replays", Tab: "Exports", Crumbs: []crumb{{"Exports", pathOf("exports")}}, Body: d})
}
