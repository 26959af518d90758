package api

import (
	"context"
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
	all, next, err := a.restoresAfter(ctx, []string{in.Project}, after, in.Limit, true)
	if err != nil {
		return nil, a.problemOf(ctx, err)
	}
	out.Body.Restores, out.Body.NextCursor = append(out.Body.Restores, all...), next
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

// restoresAfter returns a page of restores into projects, or into all (nil), and the cursor of the next
// page. queued says that it begins with those that only the queue has.
func (a *API) restoresAfter(ctx context.Context, projects []string, after restorePlace, limit int, queued bool) (page []Restore, next string, err error) {
	place := ledger.BrowsePlace{At: after.At, Project: after.Project, Request: after.Request}
	if after == (restorePlace{}) || after.Queued {
		place = ledger.BrowsePlace{}
		if queued {
			if page, next, err = a.queuedAfter(ctx, projects, after, limit); err != nil || next != "" {
				return page, next, err
			}
		}
	}
	rest := limit - len(page)
	entries, err := a.restores.Page(ctx, projects, place, rest+1)
	if err != nil {
		return nil, "", err
	}
	more := len(entries) > rest
	for _, l := range entries[:min(rest, len(entries))] {
		r, err := a.restore(l)
		if err != nil {
			return nil, "", err
		}
		page = append(page, r)
	}
	if last := len(page) - 1; more && last >= 0 {
		next = encodeCursor(restorePlace{rest == 0, page[last].CreatedAt, page[last].ProjectID, page[last].RestoreID})
	}
	return page, next, nil
}

// queuedAfter returns the restores of a page that only the queue has. next is set if there are more of them.
func (a *API) queuedAfter(ctx context.Context, projects []string, after restorePlace, limit int) (page []Restore, next string, err error) {
	var all []export.QueuedRequest
	if projects == nil {
		all, err = a.RestoreQueue.First(ctx, mostQueuedRestores)
	}
	for _, p := range projects {
		of, failed := a.RestoreQueue.OfProject(ctx, p)
		all, err = append(all, of...), errors.Join(err, failed)
	}
	if err != nil {
		return nil, "", err
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
			return nil, "", err
		case known != nil:
		case len(page) == limit:
			last := page[limit-1]
			return page, encodeCursor(restorePlace{true, last.CreatedAt, last.ProjectID, last.RestoreID}), nil
		default:
			page = append(page, a.waitingRestore(q.Request, q.Delivery.Published))
		}
	}
	return page, "", nil
}

const (
	// mostQueuedRestores bounds the requests of all projects that one page looks for in the queue.
	mostQueuedRestores = 200
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

// Restores returns a page of restores into a project, or into all of the caller if it is empty, the newest
// first, and the cursor of the next page. Without a connection to the broker those are missing that no
// restorer has recorded.
func (o Operations) Restores(ctx context.Context, project, cursor string, limit int) ([]Restore, string, error) {
	projects, err := o.projects(ListRestores)
	switch {
	case err != nil:
		return nil, "", err
	case project != "" && !o.May(ListRestores, project):
		return nil, "", errForbidden
	case project != "" && !events.ValidProject(project):
		return nil, "", nil
	case project != "":
		projects = []string{project}
	}
	after, ok := readRestoreCursor(cursor)
	if !ok {
		return nil, "", invalidParameter("after", "is not the place of a page")
	}
	all, next, err := o.api.restoresAfter(ctx, projects, after, limit, o.Connected())
	if err != nil {
		return nil, "", o.api.problemOf(ctx, err)
	}
	return all, next, nil
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
