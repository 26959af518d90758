package api

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

type listRestoresInput struct {
	ProjectPath
	Limit  int    `query:"limit" doc:"At most so many" minimum:"1" maximum:"200" default:"50"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before" maxLength:"400"`
}

type listRestoresOutput struct {
	Body struct {
		Restores   []Restore `json:"restores" nullable:"false"`
		NextCursor string    `json:"next_cursor,omitempty" doc:"Reads on; absent on the last page"`
	}
}

func (a *API) listRestores(ctx context.Context, in *listRestoresInput) (*listRestoresOutput, error) {
	out := &listRestoresOutput{}
	out.Body.Restores = []Restore{}
	after, ok := readRestoreCursor(in.Cursor)
	if !ok {
		return nil, invalidParameter("cursor", "is not the next_cursor of a page")
	}
	if !events.ValidProject(in.Project) { // a ledger cannot be asked for every text
		return out, nil
	}
	page, err := a.restoresAfter(ctx, []string{in.Project}, after, in.Limit, true)
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	out.Body.Restores, out.Body.NextCursor = append(out.Body.Restores, page.Restores...), page.Next
	return out, nil
}

// restorePlace is the position at the end of a page of restores, as a cursor holds it. It has only data
// that the page shows, so it needs no signature.
type restorePlace struct {
	Queued  bool      `json:"q,omitempty"` // among those that no restorer has recorded
	At      time.Time `json:"t"`
	Project string    `json:"p"`
	Request string    `json:"r"`
}

func readRestoreCursor(text string) (p restorePlace, ok bool) {
	if text == "" {
		return p, true
	}
	ok = decodeCursor(text, &p) && !p.At.IsZero() && events.ValidProject(p.Project) && events.ValidRequest(p.Request)
	return p, ok
}

// compare orders restores as pages do: the newest first.
func (p restorePlace) compare(o restorePlace) int {
	if c := o.At.Compare(p.At); c != 0 {
		return c
	}
	return strings.Compare(o.Project+"/"+o.Request, p.Project+"/"+p.Request)
}

// RestoresPage is a page of restores, the newest first.
type RestoresPage struct {
	Restores []Restore
	Next     string // cursor of the next page; empty: there is none
	// Cut says that the queue holds more restores of all projects than MostQueuedRestores: the later ones are on
	// no page until restorers record them.
	Cut bool
}

// restoresAfter returns a page of restores into projects, or into all (nil). queued says that it begins with
// those that only the queue has.
func (a *API) restoresAfter(ctx context.Context, projects []string, after restorePlace, limit int, queued bool) (page RestoresPage, err error) {
	place := ledger.BrowsePlace{At: after.At, Project: after.Project, Request: after.Request}
	if after == (restorePlace{}) || after.Queued {
		place = ledger.BrowsePlace{}
		if queued {
			if page, err = a.queuedAfter(ctx, projects, after, limit); err != nil || page.Next != "" {
				return page, err
			}
		}
	}
	rest := limit - len(page.Restores)
	entries, err := a.restores.Page(ctx, projects, place, rest+1)
	if err != nil {
		return RestoresPage{}, err
	}
	more := len(entries) > rest
	for _, l := range entries[:min(rest, len(entries))] {
		r, err := a.restore(l)
		if err != nil {
			return RestoresPage{}, err
		}
		page.Restores = append(page.Restores, r)
	}
	if n := len(page.Restores); more && n > 0 {
		page.Next = restoreCursor(rest == 0, page.Restores[n-1])
	}
	return page, nil
}

// restoreCursor returns the cursor of the page after one that ends with r.
func restoreCursor(queued bool, r Restore) string {
	return encodeCursor(restorePlace{queued, r.CreatedAt, r.ProjectID, r.RestoreID})
}

// queuedAfter returns the restores of a page that only the queue has. Next is set if there are more of them.
func (a *API) queuedAfter(ctx context.Context, projects []string, after restorePlace, limit int) (page RestoresPage, err error) {
	var all []export.QueuedRequest
	if projects == nil {
		all, err = a.RestoreQueue.First(ctx, MostQueuedRestores+1)
		page.Cut = len(all) > MostQueuedRestores
		all = all[:min(len(all), MostQueuedRestores)]
	}
	for _, p := range projects {
		of, failed := a.RestoreQueue.OfProject(ctx, p)
		all, err = append(all, of...), errors.Join(err, failed)
	}
	if err != nil {
		return RestoresPage{}, err
	}
	at := func(q export.QueuedRequest) restorePlace {
		return restorePlace{true, q.Delivery.Published.UTC(), q.Request.Project, q.Request.Request}
	}
	slices.SortFunc(all, func(x, y export.QueuedRequest) int { return at(x).compare(at(y)) })
	for _, q := range all {
		if q.Request.Refusal != nil || after.Queued && after.compare(at(q)) >= 0 {
			continue
		}
		known, err := a.restores.Get(ctx, q.Request.ID)
		switch {
		case err != nil:
			return RestoresPage{}, err
		case known != nil:
		case len(page.Restores) == limit:
			page.Next = restoreCursor(true, page.Restores[limit-1])
			return page, nil
		default:
			page.Restores = append(page.Restores, a.waitingRestore(q.Request, q.Delivery.Published))
		}
	}
	return page, nil
}

// MostQueuedRestores bounds the requests of all projects that one page looks for in the queue: the oldest.
const MostQueuedRestores = 200

const (
	// restoreStreamWait bounds the look for the streams of restores. Without an answer a process looks
	// again after restoreStreamPause.
	restoreStreamWait  = time.Second
	restoreStreamPause = 30 * time.Second
)

// restoreStreams remembers that the broker has the streams of restores: they are made once.
type restoreStreams struct {
	mu    sync.Mutex
	found bool
	again time.Time
}

// takesRestores reports whether restores can be asked for at the broker.
func (a *API) takesRestores(ctx context.Context) bool {
	s := &a.restoreStreams
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.found || time.Now().Before(s.again) || a.connected() != nil {
		return s.found
	}
	ctx, cancel := context.WithTimeout(ctx, restoreStreamWait)
	defer cancel()
	_, err := a.JetStream.Stream(ctx, events.StreamRestores)
	if s.found = err == nil; !s.found && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		s.again = time.Now().Add(restoreStreamPause)
	}
	return s.found
}

// TakesRestores reports whether restores can be asked for at the broker.
func (o Operations) TakesRestores(ctx context.Context) bool { return o.api.takesRestores(ctx) }

// Restores returns a page of restores into a project, or into all of the caller if it is empty. Without a
// connection to the broker those are missing that no restorer has recorded.
func (o Operations) Restores(ctx context.Context, project, cursor string, limit int) (RestoresPage, error) {
	projects, err := o.projects(ListRestores)
	switch {
	case err != nil:
		return RestoresPage{}, err
	case project != "" && !o.May(ListRestores, project):
		return RestoresPage{}, errForbidden
	case project != "" && !events.ValidProject(project):
		return RestoresPage{}, nil
	case project != "":
		projects = []string{project}
	}
	after, ok := readRestoreCursor(cursor)
	if !ok {
		return RestoresPage{}, invalidParameter("after", "is not the place of a page")
	}
	page, err := o.api.restoresAfter(ctx, projects, after, limit, o.Connected())
	if err != nil {
		return RestoresPage{}, o.api.problemOf(ctx, err)
	}
	return page, nil
}

// RestoresOf returns the newest restores of an export into projects of the caller. Of those that no restorer has
// recorded it returns the ones into the export's own project, if there is a connection to the broker.
func (o Operations) RestoresOf(ctx context.Context, at ExportPath, limit int) ([]Restore, error) {
	projects, err := o.projects(ListRestores)
	if err != nil {
		return nil, err
	}
	id := export.ID{Project: at.Project, Request: at.ID}
	var out []Restore
	if o.May(ListRestores, at.Project) && o.Connected() && o.api.takesRestores(ctx) {
		if out, err = o.api.queuedOf(ctx, id); err != nil {
			return nil, o.api.problemOf(ctx, err)
		}
	}
	entries, err := o.api.restores.OfExport(ctx, id, projects, limit)
	if err != nil {
		return nil, o.api.problemOf(ctx, err)
	}
	for _, l := range entries {
		r, err := o.api.restore(l)
		if err != nil {
			return nil, o.api.problemOf(ctx, err)
		}
		out = append(out, r)
	}
	return out[:min(limit, len(out))], nil
}

// queuedOf returns the restores of an export into its own project that only the queue has, the newest first.
func (a *API) queuedOf(ctx context.Context, id export.ID) (out []Restore, err error) {
	queued, err := a.RestoreQueue.OfProject(ctx, id.Project)
	if err != nil {
		return nil, err
	}
	for _, q := range slices.Backward(queued) {
		var of events.RestoreRequested
		if q.Request.Refusal != nil || json.Unmarshal(q.Request.Payload, &of) != nil || of.From.ProjectID != id.Project || of.From.RequestID != id.Request {
			continue
		}
		known, err := a.restores.Get(ctx, q.Request.ID)
		if err != nil {
			return nil, err
		}
		if known == nil {
			out = append(out, a.waitingRestore(q.Request, q.Delivery.Published))
		}
	}
	return out, nil
}

// Restore returns one restore.
func (o Operations) Restore(ctx context.Context, at RestorePath) (Restore, error) {
	ctx, err := o.check(ctx, GetRestore, at.Project)
	if err != nil {
		return Restore{}, err
	}
	r, _, err := o.api.findRestore(ctx, at.Project, at.ID)
	if err != nil {
		return Restore{}, o.api.problemOf(ctx, err)
	}
	return r, nil
}

// CreateRestore asks for a restore into a project. body is that of restore.requested.
func (o Operations) CreateRestore(ctx context.Context, project string, body []byte) (Restore, error) {
	ctx, err := o.check(ctx, CreateRestore, project)
	if err != nil {
		return Restore{}, err
	}
	if !events.ValidProject(project) {
		return Restore{}, invalidParameter("project", "must be 1 to 100 letters, digits, \"_\" or \"-\"")
	}
	out, err := o.api.createRestore(ctx, &createInput{ProjectPath: ProjectPath{project}, RawBody: body, header: map[string]string{}})
	if err != nil {
		return Restore{}, err
	}
	return out.Body, nil
}

// CancelRestore cancels a restore.
func (o Operations) CancelRestore(ctx context.Context, at RestorePath) (Restore, error) {
	ctx, err := o.check(ctx, CancelRestore, at.Project)
	if err != nil {
		return Restore{}, err
	}
	out, err := o.api.cancelRestore(ctx, &at)
	if err != nil {
		return Restore{}, err
	}
	return out.Body, nil
}
