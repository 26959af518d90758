package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

// mostRestoreAsks bounds how often one call compares its request with a queue that changes meanwhile. Each
// time another request of the project has entered or left the queue.
const mostRestoreAsks = 50

// askRestore publishes a request, unless the ledger or the queue has it already. The same restore id with other
// contents is a conflict, also if the two calls are made at the same time.
func (a *API) askRestore(ctx context.Context, r events.RestoreRequested) (Restore, error) {
	payload, err := r.Canonical()
	if err != nil {
		return Restore{}, err
	}
	req := export.Request{
		ID: export.ID{Project: r.ProjectID, Request: r.RestoreID}, Payload: payload, Digest: sha256.Sum256(payload),
		RequestedBy: r.RequestedBy, Metadata: r.Metadata,
	}
	known, last, err := a.askedRestore(ctx, req)
	switch {
	case err != nil:
		return Restore{}, err
	case known != nil:
		return *known, nil
	}
	err = a.noted(ctx, callerOf(ctx).call(CreateRestore, r.ProjectID, r.RestoreID), func() error {
		known, err = a.publishRestore(ctx, r, req, last)
		return err
	})
	if err != nil {
		return Restore{}, err
	}
	if known != nil {
		return *known, nil
	}
	return a.waitingRestore(req, time.Now()), nil
}

// publishRestore publishes a request that askedRestore has not found. It returns the restore if another call
// has published the same request meanwhile.
func (a *API) publishRestore(ctx context.Context, r events.RestoreRequested, req export.Request, last uint64) (known *Restore, err error) {
	for range mostRestoreAsks {
		if _, err = a.Client.RequestRestoreAfter(ctx, r, last); !errors.Is(err, events.ErrQueueChanged) {
			return nil, err
		}
		if known, last, err = a.askedRestore(ctx, req); err != nil || known != nil {
			return known, err
		}
	}
	p := problem(http.StatusTooManyRequests, codeQueueFull, "the project's queue of restores changes too fast, or is too long, to be compared with the request")
	p.retryAfter = retryQueueFull
	return nil, p
}

// askedRestore returns the restore of a request that the ledger or the queue has; nil: neither. last is the
// sequence of the last message in the project's queue; 0: it is empty. The error is a *Problem if the restore has
// other contents.
func (a *API) askedRestore(ctx context.Context, r export.Request) (known *Restore, last uint64, err error) {
	var queued []export.QueuedRequest
	down := a.connected()
	if down == nil {
		// The queue is read before the ledger: a request that leaves the queue in between is in the ledger.
		if queued, err = a.RestoreQueue.OfProject(ctx, r.Project); err != nil {
			return nil, 0, err
		}
	}
	entry, err := a.restores.Get(ctx, r.ID)
	if err != nil {
		return nil, 0, err
	}
	if entry != nil {
		if entry.Digest != r.Digest {
			return nil, 0, otherContents(r.ID)
		}
		of, err := a.restore(*entry)
		return &of, 0, err
	}
	// The connection must not send it after an outage: the caller gets an error for it.
	if down != nil {
		return nil, 0, down
	}
	for _, q := range queued {
		last = q.Delivery.Sequence
		if q.Request.ID != r.ID || q.Request.Refusal != nil {
			continue
		}
		if q.Request.Digest != r.Digest {
			return nil, 0, otherContents(r.ID)
		}
		of := a.waitingRestore(q.Request, q.Delivery.Published)
		return &of, 0, nil
	}
	return nil, last, nil
}

// otherContents returns the problem for the id of a restore that was asked for with other contents.
func otherContents(id export.ID) *Problem {
	return problem(http.StatusConflict, codes.RequestConflict, fmt.Sprintf("restore %q into project %q was asked for with other contents: use another restore_id", id.Request, id.Project))
}
