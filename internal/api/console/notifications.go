package console

import (
	"errors"
	"slices"

	"github.com/pgcourier/pgcourier/internal/api"
)

// noticesData is the content of the page of notifications.
type noticesData struct {
	State   string // shown; empty: all
	States  []string
	Rows    []noticeRow
	Parked  int
	Waiting int
	Cut     bool // there are more than are shown
	None    bool // this process cannot read them
	NoRight bool
}

type noticeRow struct {
	Notice
	Path string // of the export
}

const noticesLimit = 200

var noticeStates = []string{"parked", "waiting", "sent"}

func (v *view) notifications() error {
	if err := v.Require(api.ListNotices); err != nil {
		return err
	}
	d := noticesData{State: v.parameter("state"), States: noticeStates, None: v.console.Notices == nil}
	if !slices.Contains(noticeStates, d.State) {
		d.State = ""
	}
	f := frame{Title: "Notifications", Tab: "Notifications"}
	if !d.None {
		all, err := v.console.Notices(v.r.Context())
		switch {
		case errors.Is(err, ErrNoRight):
			d.NoRight = true
		case err != nil:
			return err
		}
		all = slices.DeleteFunc(all, func(n Notice) bool { return !v.May(api.ListNotices, n.Project) })
		for _, n := range all {
			d.Parked += count1(n.State == "parked")
			d.Waiting += count1(n.State == "waiting")
		}
		slices.SortStableFunc(all, func(a, b Notice) int {
			return slices.Index(noticeStates, a.State) - slices.Index(noticeStates, b.State)
		})
		for _, n := range all {
			switch {
			case d.State != "" && n.State != d.State:
			case len(d.Rows) == noticesLimit:
				d.Cut = true
			default:
				d.Rows = append(d.Rows, noticeRow{n, pathOf("exports", n.Project, n.Request)})
			}
		}
	}
	f.Body = d
	return v.show("notifications", f)
}
