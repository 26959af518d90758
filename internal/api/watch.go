package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/export"
)

// Progress is the latest progress of a running export or restore.
type Progress struct {
	export.ID
	Restore          bool
	Attempt, Percent int
	Stage            string // of a restore
}

// watched names an export, or a restore with the same id.
type watched struct {
	export.ID
	restore bool
}

// ErrDraining means that the process ends.
var ErrDraining = errors.New("the process ends")

// Watch collects live events of the projects of one grant. A slow reader costs no more memory than
// the number of running exports and restores. The caller closes it.
type Watch struct {
	feed   *feed
	grant  access.Grant
	signal chan struct{} // holds one element while there is something to read

	mu       sync.Mutex
	progress map[watched]Progress
	other    bool // an event other than progress came
}

// seen returns the place of a page that is made now among the events.
func (f *feed) seen() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprintf("%s.%d", f.process, f.changes)
}

// watch begins a Watch. If something happened after seen, or that is of another process, the first Next
// says so: a page would else miss what happened before its script had connected. Empty: nothing was seen.
func (f *feed) watch(g access.Grant, seen string) *Watch {
	w := &Watch{feed: f, grant: g, signal: make(chan struct{}, 1), progress: map[watched]Progress{}}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watches[w] = struct{}{}
	if seen != "" && f.behind(g, seen) {
		w.other = true
		w.wake()
	}
	return w
}

// behind reports whether something happened in the projects of a grant after seen. The caller holds mu.
func (f *feed) behind(g access.Grant, seen string) bool {
	process, count, _ := strings.Cut(seen, ".")
	n, err := strconv.ParseUint(count, 10, 64)
	if process != f.process || err != nil {
		return true
	}
	if g.Allows(access.AllProjects, access.Read) {
		return f.changes > n
	}
	return slices.ContainsFunc(g.Projects, func(p string) bool { return f.changed[p] > n && g.Allows(p, access.Read) })
}

// Close ends the Watch.
func (w *Watch) Close() {
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	delete(w.feed.watches, w)
}

// Next waits for events and returns the progress since the last call. changed reports that something
// else happened in one of the projects. ErrDraining.
func (w *Watch) Next(ctx context.Context) (progress []Progress, changed bool, err error) {
	select {
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	case <-w.feed.draining:
		return nil, false, ErrDraining
	case <-w.signal:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	progress, changed = slices.Collect(maps.Values(w.progress)), w.other
	clear(w.progress)
	w.other = false
	return progress, changed, nil
}

func (w *Watch) progressed(p Progress) {
	if !w.grant.Allows(p.Project, access.Read) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.progress[watched{p.ID, p.Restore}] = p
	w.wake()
}

func (w *Watch) changed(project string) {
	if !w.grant.Allows(project, access.Read) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.other = true
	w.wake()
}

func (w *Watch) wake() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}
