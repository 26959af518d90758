package api

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/replay"
)

// The names of operations for Operations.May. The first ones have pages only.
const (
	OpenPages      = "open-pages"
	ListCalls      = "list-calls"
	PauseSchedule  = "pause-schedule" // and resume
	Examine        = "examine"
	PlanRetention  = "plan-retention"
	CreateExport   = "create-export"
	CancelExport   = "cancel-export"
	ReplayExport   = "replay-export"
	VerifyExport   = "verify-export"
	DeleteExport   = "delete-export"
	CreateLink     = "create-link"
	ListLinks      = "list-links"
	RevokeLink     = "revoke-link"
	GetFile        = "get-file"
	ListSchedules  = "list-schedules"
	DeleteSchedule = "delete-schedule"
	CreateRestore  = "create-restore"
	CancelRestore  = "cancel-restore"
	GetRestore     = "get-restore"
	ListRestores   = "list-restores"
	ListNotices    = "list-notifications"
	ReplayNotice   = "replay-notification"
	ListTokens     = "list-tokens"
	CreateToken    = "create-token"
	RevokeToken    = "revoke-token"
)

// pageScopes returns the scopes of the operations that only pages have.
func pageScopes() map[string][]access.Scope {
	return map[string][]access.Scope{
		OpenPages: {access.Read}, PlanRetention: {access.Read},
		ListCalls: {access.Operate}, PauseSchedule: {access.Operate}, Examine: {access.Operate},
	}
}

// ProblemOf returns the problem for an error, and logs an error that no caller can fix.
func (a *API) ProblemOf(ctx context.Context, err error) *Problem { return a.problemOf(ctx, err) }

// Operations are the operations of one caller, for pages. Each checks the caller's scopes as the
// operation over HTTP does, and runs the same code. Each error is a *Problem.
type Operations struct {
	api    *API
	caller Caller
}

// As returns the operations of a caller.
func (a *API) As(c Caller) Operations { return Operations{a, c} }

// Caller returns the caller.
func (o Operations) Caller() Caller { return o.caller }

// May reports whether the caller may use an operation for a project. It says nothing about the
// project's existence.
func (o Operations) May(operation, project string) bool {
	scopes, known := o.api.scopes[operation]
	return known && o.caller.Allows(project, scopes...)
}

// MayAny reports whether the caller may use an operation for any project.
func (o Operations) MayAny(operation string) bool {
	return slices.ContainsFunc(o.caller.Projects, func(p string) bool { return o.May(operation, p) })
}

// All reports whether the caller may use an operation for every project.
func (o Operations) All(operation string) bool { return o.May(operation, access.AllProjects) }

// Require returns an error unless the caller may use an operation for the project, or for any project
// if none is given.
func (o Operations) Require(operation string, project ...string) error {
	if len(project) == 0 && o.MayAny(operation) || len(project) > 0 && o.May(operation, project[0]) {
		return nil
	}
	return errForbidden
}

// projects returns the projects for which the caller may use an operation; nil: all.
func (o Operations) projects(operation string) ([]string, error) {
	switch {
	case !o.MayAny(operation):
		return nil, errForbidden
	case o.All(operation):
		return nil, nil
	}
	return slices.DeleteFunc(slices.Clone(o.caller.Projects), func(p string) bool { return !events.ValidProject(p) }), nil
}

// check returns errForbidden unless the caller may use an operation, and a context with the caller.
func (o Operations) check(ctx context.Context, operation, project string) (context.Context, error) {
	if !o.May(operation, project) {
		return ctx, errForbidden
	}
	return context.WithValue(ctx, callerKey{}, o.caller), nil
}

// Listed is a page of exports of all projects of the caller.
type Listed struct {
	Exports  []Export // those that no worker has seen first
	Next     *ledger.BrowsePlace
	Searched bool // see ledger.BrowsePage
}

// Browse returns a page of exports. Its first page begins with the requests that no worker has seen.
func (o Operations) Browse(ctx context.Context, f ledger.BrowseFilter) (Listed, error) {
	var err error
	if f.Projects, err = o.projects(OpenPages); err != nil {
		return Listed{}, err
	}
	out := Listed{}
	waiting := len(f.States) == 0 || slices.Contains(f.States, "waiting")
	if waiting && f.After == (ledger.BrowsePlace{}) && f.Code == "" && f.Format == "" && f.Until.IsZero() {
		asked, err := o.api.Ledger.BrowseAsked(ctx, f)
		if err != nil {
			return Listed{}, o.api.problemOf(ctx, err)
		}
		for _, r := range asked {
			if strings.Contains(strings.ToLower(r.Project+" "+r.Request+" "+r.RequestedBy), strings.ToLower(f.Text)) && !r.At.Before(f.Since) {
				out.Exports = append(out.Exports, o.api.waiting(r))
			}
		}
	}
	page, err := o.api.Ledger.Browse(ctx, f)
	if err != nil {
		return Listed{}, o.api.problemOf(ctx, err)
	}
	for _, l := range page.Entries {
		e, err := o.api.export(l)
		if err != nil {
			return Listed{}, o.api.problemOf(ctx, err)
		}
		out.Exports = append(out.Exports, e)
	}
	out.Next, out.Searched = page.Next, page.Searched
	return out, nil
}

// Details is one export with everything that is known of it.
type Details struct {
	Export Export
	Entry  *ledger.Entry // nil: no worker has recorded it
	Story  ledger.Story
	Links  []Link // empty without the scope for them
	// Restorable is set if restores of the export can be asked for here.
	Restorable bool
}

// Export returns one export.
func (o Operations) Export(ctx context.Context, at ExportPath) (Details, error) {
	ctx, err := o.check(ctx, OpenPages, at.Project)
	if err != nil {
		return Details{}, err
	}
	var d Details
	if d.Export, err = o.api.find(ctx, at.Project, at.ID); err != nil {
		return d, o.api.problemOf(ctx, err)
	}
	entries, err := o.api.Ledger.Get(ctx, at.ID, at.Project)
	if err == nil && len(entries) > 0 {
		d.Entry = &entries[0]
		d.Story, err = o.api.Ledger.Story(ctx, entries[0].ID)
	}
	if err != nil {
		return d, o.api.problemOf(ctx, err)
	}
	if d.Entry != nil && d.Export.State == "completed" && o.api.Handover != nil && o.May(ListLinks, at.Project) {
		links, err := o.api.listLinks(ctx, &at)
		if err != nil {
			return d, err
		}
		d.Links = links.Body.Links
	}
	d.Restorable = d.Entry != nil && d.Export.State == "completed" && d.Export.RemovedAt == nil && o.api.takesRestores(ctx)
	return d, nil
}

// Receipt returns the receipt of an export, or with verified the one of its verification.
func (o Operations) Receipt(ctx context.Context, at ExportPath, verified bool) ([]byte, error) {
	ctx, err := o.check(ctx, OpenPages, at.Project)
	if err != nil {
		return nil, err
	}
	in := &receiptInput{at, "export"}
	if verified {
		in.Of = "verification"
	}
	out, err := o.api.receipt(ctx, in)
	if err != nil {
		return nil, err
	}
	return out.Body, nil
}

// ServeFile answers with the file of an export. It returns an error if it has not answered.
func (o Operations) ServeFile(w http.ResponseWriter, r *http.Request, at ExportPath) error {
	if _, err := o.check(r.Context(), GetFile, at.Project); err != nil {
		return err
	}
	id, err := o.api.handedOver(at)
	if err != nil {
		return err
	}
	if err := o.api.Handover.Files.ServeFile(w, r, id, o.caller.Subject); err != nil {
		return o.api.handed(r.Context(), err)
	}
	return nil
}

// Schedules returns schedules: of one project, or of all of the caller if project is empty. They come
// in pages, unless they are of several projects that the caller has by name; from is the next of the page before.
func (o Operations) Schedules(ctx context.Context, project string, from uint64, limit int) (all []Schedule, next uint64, err error) {
	projects, err := o.projects(ListSchedules)
	switch {
	case err != nil:
		return nil, 0, err
	case project != "" && !o.May(ListSchedules, project):
		return nil, 0, errForbidden
	case project != "" && !events.ValidProject(project):
		return nil, 0, nil
	case project != "" || projects == nil:
		projects = []string{project}
	}
	s, err := openSchedules(ctx, o.api)
	if err != nil {
		return nil, 0, err
	}
	now := time.Now()
	for _, p := range projects {
		for next = from; ; {
			page, following, err := s.Page(ctx, p, next, limit)
			if err != nil {
				return nil, 0, o.api.problemOf(ctx, err)
			}
			for _, one := range page {
				all = append(all, scheduleOf(one.Status(now)))
			}
			if next = following; next == 0 || len(projects) == 1 {
				break
			}
		}
	}
	return all, next, nil
}

// Failures returns what a replay of all failures would ask for, oldest failure first. Without a project they are
// those of all projects of the caller.
func (o Operations) Failures(ctx context.Context, f replay.Filter) ([]replay.Item, error) {
	projects, err := o.projects(ReplayExport)
	switch {
	case err != nil:
		return nil, err
	case f.Project != "" && !o.May(ReplayExport, f.Project):
		return nil, errForbidden
	case f.Project != "" && !events.ValidProject(f.Project):
		return nil, nil
	case f.Project != "" || projects == nil:
		projects = []string{f.Project}
	}
	var out []replay.Item
	for _, f.Project = range projects {
		items, err := o.api.Planner.All(ctx, f)
		if err != nil {
			return nil, o.api.problemOf(ctx, err)
		}
		out = append(out, items...)
	}
	return out, nil
}

// Connected reports whether this process has a connection to the broker.
func (o Operations) Connected() bool { return o.api.connected() == nil }

// Seen returns the place of a page among the live events. It is to be taken before the page reads anything.
func (o Operations) Seen() string { return o.api.feed.seen() }

// Watch watches the live events of the caller's projects from seen on, which may be empty. The caller closes it.
func (o Operations) Watch(seen string) *Watch { return o.api.feed.watch(o.caller.Grant, seen) }
