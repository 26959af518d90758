package console

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/pgcourier/pgcourier/internal/api"
)

// action is what an operator can do with one export. Its page says what will happen.
type action struct {
	Name      string // in the path
	Operation string // of the API
	Label     string // of the button
	Title     string
	Explain   []string
	Danger    bool
	Path      string
}

// actions returns the actions that the caller may use on an export in its state.
func (v *view) actions(d api.Details) []action {
	return slices.DeleteFunc(possible(d), func(a action) bool { return !v.May(a.Operation, d.Export.ProjectID) })
}

// possible returns the actions on an export in its state.
func possible(d api.Details) []action {
	e := d.Export
	var out []action
	add := func(when bool, a action) {
		if when {
			a.Path = pathOf("exports", e.ProjectID, e.RequestID, a.Name)
			out = append(out, a)
		}
	}
	open := e.State == "waiting" || e.State == "running"
	stored := e.State == "completed" && e.RemovedAt == nil
	add(open, action{
		Name: "cancel", Operation: api.CancelExport, Label: "Cancel this export", Title: "Cancel", Danger: true,
		Explain: []string{
			"The export ends without a result, wherever it is: waiting, or in the middle of its dump. What it has stored so far is deleted.",
			"Its one outcome will be failed with the code cancelled, and the event backup.failed is published.",
			"It can be asked for again later.",
		},
	})
	add(e.State == "failed" && len(e.Request) > 0, action{
		Name: "replay", Operation: api.ReplayExport, Label: "Ask for it again", Title: "Replay",
		Explain: []string{
			"The same request is published again under a new id. This one keeps its outcome.",
			"Replaying twice gives one request: if a replay waits, runs or has completed, no second one begins.",
		},
	})
	add(stored, action{
		Name: "link", Operation: api.CreateLink, Label: "Issue the link", Title: "Issue a download link",
		Explain: []string{
			"Everyone who has the link can fetch the file until it expires, is used up or is revoked.",
			"The link is shown once, on the next page. Issue and use are events, with the caller's name and address.",
		},
	})
	open = d.Story.VerifyOrderedAt != nil && d.Story.VerifyClosedAt == nil
	add(stored && d.Story.RemovalOrderedAt == nil && !open, action{
		Name: "verify", Operation: api.VerifyExport, Label: "Verify this export", Title: "Verify",
		Explain: []string{
			"A verifier reads every copy back, compares it with the outcome, and restores one into a scratch database. Nothing of the export changes.",
			"What it finds is announced as backup.verified or backup.verification_failed, and is shown on the page of the export.",
			"It begins as soon as a verifier with the ledger is free (the role verifier). Without one, the order waits.",
		},
	})
	add(d.Restorable && d.Story.RemovalOrderedAt == nil, action{Name: "restore", Operation: api.CreateRestore, Title: "Restore"})
	add(stored && d.Story.RemovalOrderedAt == nil, action{
		Name: "delete", Operation: api.DeleteExport, Label: "Delete this export", Title: "Delete", Danger: true,
		Explain: []string{
			"The export is deleted from every destination, soon. This cannot be undone.",
			"Its record and its outcome stay as they were announced; its links open nothing any more.",
		},
	})
	return out
}

// confirmData is the content of the page that asks before an action.
type confirmData struct {
	Subject string
	Explain []string
	Label   string
	Danger  bool
	Back    string
	Action  string // path of the form
	Link    bool   // the form has the fields of a link
	Warning string
	Names   []string // what it is about, if it is more than one
	Hidden  []field  // further fields of the form
}

type field struct{ Name, Value string }

// findAction returns the action of the path, as it is possible now.
func (v *view) findAction() (action, error) {
	d, err := v.Export(v.r.Context(), v.at())
	if err != nil {
		return action{}, err
	}
	for _, a := range v.actions(d) {
		if a.Name == v.r.PathValue("action") {
			return a, nil
		}
	}
	for _, a := range possible(d) {
		if a.Name == v.r.PathValue("action") {
			return action{}, v.Require(a.Operation, d.Export.ProjectID)
		}
	}
	return action{}, errNoPage
}

func (v *view) exportCrumbs() []crumb {
	at := v.at()
	return []crumb{{"Exports", pathOf("exports")}, {at.Project, exportsPath(filter{Project: at.Project}, "")}, {at.ID, pathOf("exports", at.Project, at.ID)}}
}

// confirm asks before an action.
func (v *view) confirm() error {
	a, err := v.findAction()
	if err != nil {
		return err
	}
	at := v.at()
	if a.Name == "restore" {
		return v.showRestoreForm(http.StatusOK, restoreForm{Key: newRequestKey(), Project: at.Project, Mode: restoreModes[0]})
	}
	return v.show("confirm", frame{
		Title: a.Title, Tab: "Exports", Crumbs: v.exportCrumbs(),
		Body: confirmData{
			Subject: at.Project + "/" + at.ID, Explain: a.Explain, Label: a.Label, Danger: a.Danger, Link: a.Name == "link",
			Back: pathOf("exports", at.Project, at.ID), Action: a.Path,
		},
	})
}

// act does an action. The operation itself checks the caller and the state.
func (v *view) act() error {
	at, ctx := v.at(), v.r.Context()
	self := pathOf("exports", at.Project, at.ID)
	switch v.r.PathValue("action") {
	case "cancel":
		if _, err := v.Cancel(ctx, at); err != nil {
			return err
		}
		return v.redirect(self, "cancelled")
	case "replay":
		e, err := v.Replay(ctx, at)
		if err != nil {
			return err
		}
		return v.redirect(pathOf("exports", e.ProjectID, e.RequestID), "replayed")
	case "verify":
		if err := v.Verify(ctx, at); err != nil {
			return err
		}
		return v.redirect(self, "verifying")
	case "delete":
		if err := v.Delete(ctx, at); err != nil {
			return err
		}
		return v.redirect(self, "deleted")
	case "restore":
		return v.askForRestore(at)
	case "link":
		return v.issue(at)
	}
	return errNoPage
}

// linkData is the content of the page that shows a new link.
type linkData struct {
	api.Link
	Back string
}

// issue issues a link and shows it, once.
func (v *view) issue(at api.ExportPath) error {
	form := v.r.PostForm
	terms := api.LinkTerms{TTL: strings.TrimSpace(form.Get("ttl")), NotifyEmail: strings.TrimSpace(form.Get("notify_email"))}
	if n := strings.TrimSpace(form.Get("max_downloads")); n != "" {
		terms.MaxDownloads, _ = strconv.Atoi(n) // 0: it is not a number
		if terms.MaxDownloads < 1 {
			v.status(http.StatusUnprocessableEntity, "The number of downloads is not a number from 1 on", "Go back and correct it. No link was issued.")
			return nil
		}
	}
	link, err := v.CreateLink(v.r.Context(), at, terms)
	if err != nil {
		return err
	}
	return v.show("link", frame{Title: "New download link", Tab: "Exports", Crumbs: v.exportCrumbs(), Body: linkData{link, pathOf("exports", at.Project, at.ID)}})
}

func (v *view) confirmRevocation() error {
	at := v.at()
	if err := v.Require(api.RevokeLink, at.Project); err != nil {
		return err
	}
	link := v.r.PathValue("link")
	return v.show("confirm", frame{
		Title: "Revoke the link", Tab: "Exports", Crumbs: v.exportCrumbs(),
		Body: confirmData{
			Subject: link, Label: "Revoke the link", Danger: true, Back: pathOf("exports", at.Project, at.ID),
			Explain: []string{"The link opens nothing from now on. A transfer that runs goes on to its end.", "This cannot be undone. Issue another link instead."},
			Action:  pathOf("exports", at.Project, at.ID, "links", link, "revoke"),
		},
	})
}

func (v *view) revokeLink() error {
	at := v.at()
	if err := v.RevokeLink(v.r.Context(), at, v.r.PathValue("link")); err != nil {
		return err
	}
	return v.redirect(pathOf("exports", at.Project, at.ID), "revoked")
}
