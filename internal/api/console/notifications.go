package console

import (
	"errors"
	"net/http"
	"slices"
	"time"

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
	// Since: those that have not changed since then may be missing. Zero: none is.
	Since   time.Time
	None    bool // this process cannot read them
	NoRight bool

	MayReplay bool // some row can be replayed
}

type noticeRow struct {
	api.Notice
	Path   string // of the export
	Replay string // path of the action; empty: there is none
}

const (
	noticesLimit = 50
	// noticesEvery is how often an open page looks for changes, in seconds: no event tells of them.
	noticesEvery = 5
)

var noticeStates = []string{"parked", "waiting", "sent"}

func (v *view) notifications() error {
	if err := v.Require(api.ListNotices); err != nil {
		return err
	}
	d := noticesData{State: v.parameter("state"), States: noticeStates, None: !v.HasNotices()}
	if !slices.Contains(noticeStates, d.State) {
		d.State = ""
	}
	f := frame{Title: "Notifications", Tab: "Notifications", Live: true, Renew: noticesEvery}
	if !d.None {
		all, since, err := v.Notices(v.r.Context())
		d.Since = since
		if p, told := errors.AsType[*api.Problem](err); told && p.Status == http.StatusNotImplemented {
			d.NoRight = true
		} else if err != nil {
			return err
		}
		for _, n := range all {
			d.Parked += count1(n.State == "parked")
			d.Waiting += count1(n.State == "waiting")
		}
		slices.SortStableFunc(all, func(a, b api.Notice) int {
			return slices.Index(noticeStates, a.State) - slices.Index(noticeStates, b.State)
		})
		for _, n := range all {
			switch {
			case d.State != "" && n.State != d.State:
			case len(d.Rows) == noticesLimit:
				d.Cut = true
			default:
				r := noticeRow{Notice: n, Path: pathOf("exports", n.Project, n.Request)}
				if n.State == "parked" && v.May(api.ReplayNotice, n.Project) {
					r.Replay, d.MayReplay = pathOf("notifications", n.Project, n.Key, "replay"), true
				}
				d.Rows = append(d.Rows, r)
			}
		}
	}
	f.Body = d
	return v.show("notifications", f)
}

func (v *view) noticeAt() api.NoticePath {
	return api.NoticePath{ProjectPath: api.ProjectPath{Project: v.r.PathValue("project")}, Key: v.r.PathValue("key")}
}

// confirmNotice asks before a parked notification is replayed.
func (v *view) confirmNotice() error {
	n, err := v.Notice(v.r.Context(), v.noticeAt())
	if err != nil {
		return err
	}
	if n.State != "parked" {
		v.status(http.StatusOK, "There is nothing to replay", "The notification is "+word(n.State)+".")
		return nil
	}
	d := confirmData{
		Subject: n.Channel + " to " + n.Recipient, Label: "Deliver it again", Back: pathOf("notifications"), Action: pathOf("notifications", n.Project, n.Key, "replay"),
		Explain: []string{
			"The notification about " + n.Project + "/" + n.Request + " is queued again, with all its tries before it.",
			"It keeps its Message-ID or webhook-id, so that a receiver that has it already can tell.",
		},
	}
	if n.Cause != "" {
		d.Warning = "It was parked because: " + shown(n.Cause, shortText)
	}
	return v.show("confirm", frame{Title: "Deliver a notification again", Tab: "Notifications", Crumbs: []crumb{{"Notifications", pathOf("notifications")}}, Body: d})
}

func (v *view) replayNotice() error {
	if err := v.ReplayNotice(v.r.Context(), v.noticeAt()); err != nil {
		return err
	}
	return v.redirect(pathOf("notifications"), "notice-replayed")
}
