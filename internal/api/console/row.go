package console

import (
	"encoding/json"
	"time"

	"github.com/pgcourier/pgcourier/internal/api"
)

// row is an export in a list.
type row struct {
	api.Export
	Path        string
	Format      string
	StoredBytes int64
	Took        time.Duration // 0: it has not ended, or never began
	MayReplay   bool          // it has failed, and the caller may ask for it again
}

// rows returns the rows of exports.
func (v *view) rows(exports []api.Export) []row {
	out := make([]row, len(exports))
	for i, e := range exports {
		r := row{Export: e, Path: pathOf("exports", e.ProjectID, e.RequestID)}
		var request struct {
			Format string `json:"format"`
		}
		if json.Unmarshal(e.Request, &request) == nil { // absent for a refused request
			r.Format = request.Format
		}
		var outcome struct {
			StoredBytes int64 `json:"stored_bytes"`
		}
		if json.Unmarshal(e.Outcome, &outcome) == nil { // absent before the end
			r.StoredBytes = outcome.StoredBytes
		}
		if e.StartedAt != nil && e.FinishedAt != nil {
			r.Took = e.FinishedAt.Sub(*e.StartedAt)
		}
		r.MayReplay = e.State == "failed" && len(e.Request) > 0 && v.May(api.ReplayExport, e.ProjectID)
		out[i] = r
	}
	return out
}

// Key names the export in forms and for the script.
func (r row) Key() string { return r.ProjectID + "/" + r.RequestID }
