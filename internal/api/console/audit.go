package console

import (
	"strconv"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

// auditData is the content of the audit.
type auditData struct {
	Calls []auditRow
	Next  string // path of the next page
	First bool
}

type auditRow struct {
	ledger.NotedCall
	Path string // of the export or restore; empty: the object is something else
}

const auditLimit = 100

func (v *view) audit() error {
	before, _ := strconv.ParseInt(v.r.URL.Query().Get("before"), 10, 64) // 0: the first page
	calls, err := v.Calls(v.r.Context(), max(before, 0), auditLimit+1)
	if err != nil {
		return err
	}
	d := auditData{First: before <= 0}
	if len(calls) > auditLimit {
		calls = calls[:auditLimit]
		d.Next = Prefix + "audit?before=" + strconv.FormatInt(calls[auditLimit-1].ID, 10)
	}
	for _, c := range calls {
		r := auditRow{NotedCall: c}
		switch c.Action {
		case "create-export", "cancel-export", "replay-export", "verify-export", "delete-export", "create-link":
			if events.ValidRequest(c.Object) {
				r.Path = pathOf("exports", c.Project, c.Object)
			}
		case api.CreateRestore, api.CancelRestore:
			if events.ValidRequest(c.Object) {
				r.Path = pathOf("restores", c.Project, c.Object)
			}
		}
		d.Calls = append(d.Calls, r)
	}
	return v.show("audit", frame{Title: "Audit", Tab: "Audit", Body: d})
}
