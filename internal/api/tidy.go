package api

import (
	"context"
	"time"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
)

const (
	tidyEvery = 5 * time.Second
	tidyBatch = 1000
	// lostAfter is the age at which a request that no worker recorded and that is not in the queue is
	// given up: the broker never stored it, or lost its store.
	lostAfter = 10 * time.Minute
)

// Tidy cleans the API's tables until ctx ends: it marks requests that workers have recorded, gives up
// requests that never reached the queue, and deletes rows older than keep (0: none). Several processes
// may run it.
func (a *API) Tidy(ctx context.Context, keep time.Duration) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		err := a.Ledger.TidyAPI(ctx, keep, tidyBatch)
		if err == nil {
			err = a.giveUp(ctx, lostAfter)
		}
		if err != nil && ctx.Err() == nil {
			a.Log.WarnContext(ctx, "tables of the API not tidied", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// giveUp frees the ids of requests that never reached the queue. A caller can then send the request
// again. It frees none of a project with a queue that is too long to be read to its end.
func (a *API) giveUp(ctx context.Context, age time.Duration) error {
	old, err := a.Ledger.Unrecorded(ctx, age, tidyBatch)
	if err != nil {
		return err
	}
	queues := map[string]map[string]bool{} // nil: too long
	for _, r := range old {
		queued, known := queues[r.Project]
		if !known {
			if queued, err = a.queuedIDs(ctx, r.Project); err != nil {
				return err
			}
			queues[r.Project] = queued
		}
		if queued == nil || queued[r.Request] {
			continue
		}
		// A worker may have recorded it in between.
		if entries, err := a.Ledger.Get(ctx, r.Request, r.Project); err != nil || len(entries) > 0 {
			if err != nil {
				return err
			}
			continue
		}
		if err := a.Ledger.TakeBack(ctx, ledger.Asked{ID: export.ID{Project: r.Project, Request: r.Request}, Digest: r.Digest}); err != nil {
			return err
		}
		a.Log.WarnContext(ctx, "a request that was asked for is not in the queue, its id is free again", "project_id", r.Project, "request_id", r.Request)
	}
	return nil
}

// queuedIDs returns the ids of the waiting and running requests of a project; nil: there are too many.
func (a *API) queuedIDs(ctx context.Context, project string) (map[string]bool, error) {
	queued, err := a.Queue.OfProject(ctx, project)
	if err != nil || len(queued) >= broker.MaxSearch {
		return nil, err
	}
	out := map[string]bool{}
	for _, r := range queued {
		out[r.Request.Request] = true
	}
	return out, nil
}
