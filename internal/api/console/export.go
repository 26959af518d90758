package console

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"time"

	"github.com/pgcourier/pgcourier/internal/api"
	"github.com/pgcourier/pgcourier/internal/export"
)

// exportData is the content of the page of one export.
type exportData struct {
	row
	Details     api.Details
	Artifact    *export.Artifact // nil: it has not completed
	Timeline    []moment
	Request     string // as JSON
	StorageKey  string
	Commands    []command
	Actions     []action
	MayDownload bool
	MayLink     bool
	MayRevoke   bool
	HasReceipt  bool
	Restores    []restoreRow // made from it, the newest first
	MoreOf      bool         // there are more of them
	ShowsThem   bool         // restores are set up, or there are some
	MayRestore  bool
	Verifying   bool // a verification was asked for and has not ended
	Labels      [][2]string
}

// restoresOfLimit bounds the restores on the page of their export.
const restoresOfLimit = 20

// moment is one entry of a timeline.
type moment struct {
	At          time.Time
	Title, Text string
	Class       string
}

func (v *view) export() error {
	at := v.at()
	got, err := v.Export(v.r.Context(), at)
	if err != nil {
		return err
	}
	d := exportData{row: v.rows([]api.Export{got.Export})[0], Details: got, Timeline: timeline(got), Actions: v.actions(got)}
	var b []byte
	if json.Valid(got.Export.Request) {
		var of any
		if json.Unmarshal(got.Export.Request, &of) == nil {
			b, _ = json.MarshalIndent(of, "", "  ") // it was read from JSON
		}
	}
	d.Request = string(b)
	for k, val := range got.Export.Metadata {
		d.Labels = append(d.Labels, [2]string{k, val})
	}
	slices.SortFunc(d.Labels, func(a, b [2]string) int { return cmp.Compare(a[0], b[0]) })
	if e := got.Entry; e != nil {
		for _, a := range e.Attempts {
			if a.Result == "completed" {
				d.StorageKey = a.Object
			}
		}
		if e.Outcome != nil {
			d.Artifact = e.Outcome.Artifact
		}
	}
	if stored := d.Artifact != nil && got.Export.RemovedAt == nil; stored {
		d.Commands = commands(at.Project+"/"+at.ID, d.StorageKey, *d.Artifact)
		d.MayDownload, d.MayLink = v.May(api.GetFile, at.Project), v.May(api.CreateLink, at.Project)
		d.HasReceipt = d.Artifact.Receipt != nil
	}
	d.Verifying = got.Export.RemovedAt == nil && got.Story.VerifyOrderedAt != nil && got.Story.VerifyClosedAt == nil
	d.MayRevoke = v.May(api.RevokeLink, at.Project)
	if d.Artifact != nil && v.MayAny(api.ListRestores) {
		restores, err := v.RestoresOf(v.r.Context(), at, restoresOfLimit+1)
		if err != nil {
			return err
		}
		d.MoreOf = len(restores) > restoresOfLimit
		for _, r := range restores[:min(restoresOfLimit, len(restores))] {
			d.Restores = append(d.Restores, restoreRowOf(r))
		}
		d.ShowsThem = len(restores) > 0 || got.Restorable
		d.MayRestore = got.Restorable && got.Story.RemovalOrderedAt == nil && v.May(api.CreateRestore, at.Project)
	}
	return v.show("export", frame{
		Title: at.ID, Tab: "Exports", Live: true, Body: d,
		Crumbs: []crumb{{"Exports", pathOf("exports")}, {at.Project, exportsPath(filter{Project: at.Project}, "")}},
	})
}

// timeline returns what happened to an export, the oldest first.
func timeline(d api.Details) []moment {
	e := d.Export
	out := []moment{{e.CreatedAt, "Asked for", e.RequestedBy, "none"}}
	add := func(at *time.Time, title, text, class string) {
		if at != nil {
			out = append(out, moment{*at, title, text, class})
		}
	}
	if d.Entry != nil {
		for _, a := range d.Entry.Attempts {
			add(&a.StartedAt, fmt.Sprintf("Attempt %d began", a.Attempt), "worker "+a.Worker, "busy")
			switch a.Result {
			case "completed":
				add(a.EndedAt, fmt.Sprintf("Attempt %d completed", a.Attempt), "stored and checked", "good")
			case "retry":
				add(a.EndedAt, fmt.Sprintf("Attempt %d failed, to be tried again", a.Attempt), joined([]string{word(a.Code), a.Message}), "mild")
			case "superseded":
				add(a.EndedAt, fmt.Sprintf("Attempt %d was superseded", a.Attempt), "another attempt or the end of the request took its place", "mild")
			case "failed":
				add(a.EndedAt, fmt.Sprintf("Attempt %d failed", a.Attempt), joined([]string{word(a.Code), a.Message}), "bad")
			}
		}
		switch e.State {
		case "failed":
			add(e.FinishedAt, "Failed", joined([]string{word(e.Code), e.Message}), "bad")
		case "cancelled":
			add(e.FinishedAt, "Cancelled", e.Message, "none")
		case "completed":
			add(e.FinishedAt, "Completed", "", "good")
		}
		add(d.Entry.PublishedAt, "Outcome announced", "", "none")
	}
	s := d.Story
	add(s.CancelledAt, "Cancel asked for", by(s.CancelledBy), "none")
	add(s.VerifyOrderedAt, "Verification asked for", by(s.VerifyOrderedBy), "none")
	if s.VerifyFault != "" {
		add(s.VerifyClosedAt, "Verification given up", s.VerifyFault, "mild")
	}
	if s.Damaged {
		add(s.VerifiedAt, "Verification failed", "it is not what was promised, or it is missing", "bad")
	} else {
		add(s.VerifiedAt, "Verified", "read back and restored into a scratch database", "good")
	}
	for _, l := range d.Links {
		add(&l.IssuedAt, "Link issued", l.ID+" "+by(l.IssuedBy), "none")
		add(l.RevokedAt, "Link revoked", l.ID+" "+by(l.RevokedBy), "none")
	}
	for _, x := range s.Downloads {
		through := "by the API"
		if x.Link != "" {
			through = "over the link " + x.Link
		}
		amount := size(x.Bytes)
		switch {
		case x.Redirected:
			amount = "sent to the storage"
		case x.Whole:
			amount += ", whole"
		}
		add(&x.StartedAt, "Downloaded", joined([]string{through, x.By, "from " + x.Address, amount}), "none")
	}
	add(s.WarnedAt, "Retention announced the deletion", s.ExpiryReason, "mild")
	add(s.DeletingAt, "Retention began the deletion", s.ExpiryFault, "mild")
	add(s.RemovalOrderedAt, "Deletion ordered", joined([]string{by(s.RemovalOrderedBy), s.RemovalFault}), "mild")
	add(e.RemovedAt, "Deleted from every destination", "", "none")
	slices.SortStableFunc(out, func(a, b moment) int { return a.At.Compare(b.At) })
	return out
}

// by returns the words for the author of something.
func by(author string) string {
	if author == "" {
		return ""
	}
	return "by " + author
}

// file sends the stored bytes.
func (v *view) file() error {
	return v.ServeFile(v.w, v.r, v.at())
}

// receipt sends the receipt of the export or, with of=verification, that of its verification.
func (v *view) receipt() error {
	verified := v.r.URL.Query().Get("of") == "verification"
	b, err := v.Receipt(v.r.Context(), v.at(), verified)
	if err != nil {
		return err
	}
	name := path.Base(v.r.PathValue("id")) + ".receipt.json"
	v.w.Header().Set("Content-Type", "application/json")
	v.w.Header().Set("Content-Disposition", "attachment; filename=\""+safeName(name)+"\"")
	v.w.WriteHeader(http.StatusOK)
	_, _ = v.w.Write(b) // fails only when the browser has gone
	return nil
}

// safeName returns a file name of plain characters.
func safeName(s string) string {
	b := []byte(s)
	for i, c := range b {
		if plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'; !plain {
			b[i] = '_'
		}
	}
	return string(b)
}
