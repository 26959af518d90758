package console

import (
	"time"

	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

// overviewData is the content of the overview.
type overviewData struct {
	Running, Failed []row
	Queue           *api.Queue // nil: the broker does not answer
	Completed       int        // of the last 24 hours, like the others
	FailedCount     int
	Cancelled       int
	Asked           int
	Charts          []chart
	Projects        []ledger.ProjectState
	Leaving         []ledger.Leaving
	Notice          time.Duration
	MayRequest      bool
}

const (
	overviewRunning = 50
	overviewFailed  = 10
)

func (v *view) overview() error {
	ctx := v.r.Context()
	o, err := v.Overview(ctx)
	if err != nil {
		return err
	}
	running, err := v.Browse(ctx, ledger.BrowseFilter{States: []export.State{export.Running}, Limit: overviewRunning})
	if err != nil {
		return err
	}
	failed, err := v.Browse(ctx, ledger.BrowseFilter{
		States: []export.State{export.Failed}, Since: time.Now().Add(-24 * time.Hour), Limit: overviewFailed,
	})
	if err != nil {
		return err
	}
	d := overviewData{
		Running: v.rows(running.Exports), Failed: v.rows(failed.Exports), Charts: charts(o.Hours), Projects: o.Projects, Leaving: o.Leaving,
		Notice: v.console.Notice, MayRequest: v.MayAny(api.CreateExport),
	}
	for _, h := range o.Hours {
		d.Asked += h.Count
		switch h.State {
		case export.Completed:
			d.Completed += h.Count
		case export.Failed:
			d.FailedCount += h.Count
		case ledger.Cancelled:
			d.Cancelled += h.Count
		case export.Waiting, export.Running:
		}
	}
	f := frame{Title: "Overview", Tab: "Overview", Live: true}
	if q, err := v.Queue(ctx); err == nil {
		d.Queue = &q
	} else {
		f.Notes = append(f.Notes, "The broker does not answer: what waits there, and live progress, cannot be shown. All else is from the database.")
	}
	f.Body = d
	return v.show("overview", f)
}
