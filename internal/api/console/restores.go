package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api"
)

var restoreModes = []string{string(events.RestoreCreate), string(events.RestoreReplace)}

// restoreForm is the content of the page that asks before a restore of an export.
type restoreForm struct {
	Key, Project, Mode string
	Tables             string // one in each line
	Modes              []string
	Subject            string
	Back, Action       string
	Fault              string
}

func (v *view) showRestoreForm(status int, d restoreForm) error {
	at := v.at()
	d.Modes, d.Subject = restoreModes, at.Project+"/"+at.ID
	d.Back, d.Action = pathOf("exports", at.Project, at.ID), pathOf("exports", at.Project, at.ID, "restore")
	return v.showStatus(status, "restoreform", frame{Title: "Restore", Tab: "Exports", Crumbs: v.exportCrumbs(), Body: d})
}

// askForRestore asks for a restore of the export, or with plan for what it would do.
func (v *view) askForRestore(at api.ExportPath) error {
	if _, err := v.findAction(); err != nil {
		return err
	}
	get := func(name string) string { return parameter(v.r.PostForm.Get(name)) }
	d := restoreForm{Key: get("restore_id"), Project: get("project"), Mode: get("mode")}
	plan := get("plan") != ""
	of := map[string]any{"from": events.RestoreFrom{ProjectID: at.Project, RequestID: at.ID}, "plan": plan}
	if d.Key != "" {
		// The plan and the restore that follows it from the same form are two requests.
		of["restore_id"] = d.Key
		if plan {
			of["restore_id"] = d.Key + "-plan"
		}
	}
	if d.Mode != "" {
		of["mode"] = d.Mode
	}
	var tables []string
	for line := range strings.Lines(v.r.PostForm.Get("tables")) {
		if name := parameter(line); name != "" {
			tables = append(tables, name)
		}
	}
	if d.Tables = strings.Join(tables, "\n"); d.Tables != "" {
		of["tables"] = tables
	}
	body, err := json.Marshal(of)
	if err != nil {
		return err
	}
	r, err := v.CreateRestore(v.r.Context(), d.Project, body)
	if p, told := errors.AsType[*api.Problem](err); told {
		switch p.Status {
		case http.StatusConflict:
			d.Key = newRequestKey()
			d.Fault = "This form asked for a restore with other contents before. That one stands; sent again, the form asks for a further one."
			return v.showRestoreForm(p.Status, d)
		case http.StatusUnprocessableEntity, http.StatusTooManyRequests:
			d.Fault = sentence(p.Detail)
			return v.showRestoreForm(p.Status, d)
		}
	}
	if err != nil {
		return err
	}
	did := "restoring"
	if plan {
		did = "planning"
	}
	return v.redirect(pathOf("restores", r.ProjectID, r.RestoreID), did)
}

// restoreRow is a restore in a list.
type restoreRow struct {
	api.Restore
	Path     string
	Asked    events.RestoreRequested  // zero: the request was refused
	Done     *events.RestoreCompleted // nil: it has not completed
	Source   string                   // the export
	SourceAt string                   // its page; empty: the newest one, which no attempt has resolved
	Took     time.Duration            // 0: it has not ended, or never began
}

func restoreRowOf(r api.Restore) restoreRow {
	out := restoreRow{Restore: r, Path: pathOf("restores", r.ProjectID, r.RestoreID)}
	if json.Unmarshal(r.Request, &out.Asked) != nil { // absent for a refused request
		out.Asked = events.RestoreRequested{}
	}
	from := events.RestoredExport(out.Asked.From)
	if r.From.Request != "" {
		from = events.RestoredExport{ProjectID: r.From.Project, RequestID: r.From.Request}
	}
	if r.State == "completed" {
		var done events.RestoreCompleted
		if json.Unmarshal(r.Outcome, &done) == nil {
			out.Done, from = &done, done.From
		}
	}
	if from.RequestID != "" {
		out.Source = from.ProjectID + "/" + from.RequestID
		if from.RequestID != events.LatestExport && from.RequestID != events.LatestVerified {
			out.SourceAt = pathOf("exports", from.ProjectID, from.RequestID)
		}
	}
	if r.StartedAt != nil && r.FinishedAt != nil {
		out.Took = r.FinishedAt.Sub(*r.StartedAt)
	}
	return out
}

// Key names the restore for the script.
func (r restoreRow) Key() string { return restoreKey(r.ProjectID, r.RestoreID) }

// restoreKey names a restore for the script. No export has a colon in its name.
func restoreKey(project, restore string) string { return "restore:" + project + "/" + restore }

// Stage is what a running restore does now; empty: that is not known.
func (r restoreRow) Stage() string {
	if r.Progress == nil {
		return ""
	}
	return stageWords(r.Progress.Stage)
}

// Percent is the progress of a running restore in its stage; nil: that is not known.
func (r restoreRow) Percent() *int {
	if r.Progress == nil {
		return nil
	}
	return &r.Progress.Percent
}

// stageWords returns the words for a stage of a restore.
func stageWords(stage string) string {
	switch stage {
	case "checking":
		return "checking the export"
	case "restoring":
		return "restoring into the target"
	}
	return shown(stage, shortText)
}

// Open reports whether the restore has not ended.
func (r restoreRow) Open() bool { return r.State == "waiting" || r.State == "running" }

// restoresData is the content of the list of restores.
type restoresData struct {
	Rows    []restoreRow
	Project string
	Next    string // path of the next page
	First   string // path of the first page, on a later one
	Taken   bool   // restores can be asked for here
}

const restoresLimit = 50

func (v *view) restores() error {
	d := restoresData{Project: v.parameter("project"), Taken: v.TakesRestores(v.r.Context())}
	after := v.r.URL.Query().Get("after")
	page, err := v.Restores(v.r.Context(), d.Project, after, restoresLimit)
	if err != nil {
		return err
	}
	for _, r := range page.Restores {
		d.Rows = append(d.Rows, restoreRowOf(r))
	}
	if page.Next != "" {
		d.Next = restoresPath(d.Project, page.Next)
	}
	if after != "" {
		d.First = restoresPath(d.Project, "")
	}
	f := frame{Title: "Restores", Tab: "Restores", Live: true, Body: d}
	if !v.Connected() {
		f.Notes = append(f.Notes, "The broker does not answer. Restores that no restorer has seen yet are missing here.")
	}
	if page.Cut {
		f.Notes = append(f.Notes, fmt.Sprintf("More than %d restores are in the queue: of these only the first %[1]d are looked at here. Filter by a project to see all of its own.", api.MostQueuedRestores))
	}
	return v.show("restores", f)
}

// restoresPath returns the path of a page of the list.
func restoresPath(project, after string) string {
	q := url.Values{}
	if project != "" {
		q.Set("project", project)
	}
	if after != "" {
		q.Set("after", after)
	}
	if len(q) == 0 {
		return pathOf("restores")
	}
	return pathOf("restores") + "?" + q.Encode()
}

// restoreData is the content of the page of one restore.
type restoreData struct {
	restoreRow
	Body   string // of the request, as JSON
	Cancel string // path of the page that asks; empty: it cannot be cancelled
}

func (v *view) restoreAt() api.RestorePath { return api.RestorePath(v.at()) }

func (v *view) restore() error {
	at := v.restoreAt()
	r, err := v.Restore(v.r.Context(), at)
	if err != nil {
		return err
	}
	d := restoreData{restoreRow: restoreRowOf(r)}
	var of any
	if json.Unmarshal(r.Request, &of) == nil {
		b, _ := json.MarshalIndent(of, "", "  ") // it was read from JSON
		d.Body = string(b)
	}
	if d.Open() && v.May(api.CancelRestore, at.Project) {
		d.Cancel = pathOf("restores", at.Project, at.ID, "cancel")
	}
	return v.show("restore", frame{
		Title: at.ID, Tab: "Restores", Live: true, Body: d,
		Crumbs: []crumb{{"Restores", pathOf("restores")}, {at.Project, restoresPath(at.Project, "")}},
	})
}

// confirmCancelRestore asks before a restore is cancelled.
func (v *view) confirmCancelRestore() error {
	at := v.restoreAt()
	if err := v.Require(api.CancelRestore, at.Project); err != nil {
		return err
	}
	r, err := v.Restore(v.r.Context(), at)
	if err != nil {
		return err
	}
	if row := restoreRowOf(r); !row.Open() {
		v.status(http.StatusOK, "There is nothing to cancel", "The restore has ended: "+word(r.State)+".")
		return nil
	}
	self := pathOf("restores", at.Project, at.ID)
	return v.show("confirm", frame{
		Title: "Cancel", Tab: "Restores", Crumbs: []crumb{{"Restores", pathOf("restores")}, {at.Project, restoresPath(at.Project, "")}, {at.ID, self}},
		Body: confirmData{
			Subject: at.Project + "/" + at.ID, Label: "Cancel this restore", Danger: true, Back: self, Action: self + "/cancel",
			Explain: []string{
				"The restore ends, and its target stays as it is. A restore that the target has committed meanwhile completes all the same.",
				"Its one outcome will be failed with the code cancelled, and the event restore.failed is published.",
			},
		},
	})
}

func (v *view) cancelRestore() error {
	at := v.restoreAt()
	if _, err := v.CancelRestore(v.r.Context(), at); err != nil {
		return err
	}
	return v.redirect(pathOf("restores", at.Project, at.ID), "restore-cancelled")
}
