package export

import (
	"context"
	"errors"
	"time"

	"github.com/pgcourier/pgcourier/internal/delivery"
)

// Reaper is what the reaper needs of the ledger: it ends requests that no worker will
// end any more, and finds outcomes that were never announced. Any number of reapers may
// run at once.
type Reaper interface {
	// Unpublished returns up to limit outcomes that became terminal at least olderThan
	// ago and are not marked as published, oldest first.
	Unpublished(ctx context.Context, olderThan time.Duration, limit int) ([]Outcome, error)
	// Stranded returns up to limit requests that no worker holds: the lease ended, or they
	// began to wait for another delivery, at least grace ago, or at any time if they were
	// cancelled. Whether the queue still has a delivery for one is for the caller to find
	// out, by its place in the queue.
	Stranded(ctx context.Context, grace time.Duration, limit int) ([]Stranded, error)
	// FailStranded ends a stranded request as failed with WorkerLost, or with Cancelled if
	// it was, and returns its outcome. A paused owner is superseded by it. If the request
	// is terminal already, the outcome is the one it has. ErrNotLost: a worker holds it, or
	// claimed it since.
	FailStranded(ctx context.Context, s Stranded, grace time.Duration) (Outcome, error)
	// FailUnclaimed ends the request of a message that the queue will not deliver again,
	// whether the ledger knows the request or not: with WorkerLost, or with its
	// refusal. Otherwise it is FailStranded. ErrConflict: the id belongs to a request
	// with another payload. ErrNotBegun: nothing was changed, because no attempt of it was
	// ever lost: it only waited until its deliveries were used up, and can still be run.
	FailUnclaimed(ctx context.Context, r Request, d delivery.Delivery, grace time.Duration) (Outcome, error)
}

// Collector is what the collector needs of the ledger: the objects that attempts may
// have left behind.
type Collector interface {
	// Collectable returns up to limit objects to delete now. It never names the object
	// of an attempt that completed its request or still could.
	Collectable(ctx context.Context, limit int) ([]Leftover, error)
	// Collected notes that the objects were deleted. Each is offered again after a
	// pause, because a paused loser may write late.
	Collected(ctx context.Context, objects []Leftover) error
}

// Cleaner is what keeps the ledger from growing for ever.
type Cleaner interface {
	// Forget deletes up to limit records of requests, the oldest first, that were over at least
	// keep ago and not after before, and returns how many. A request is over once its outcome is
	// published and nothing of it is stored: it failed, or its export was deleted. A request with
	// anything left to do stays. Any number may forget at once.
	Forget(ctx context.Context, keep time.Duration, before time.Time, limit int) (int, error)
}

// Removals is what was ordered to be deleted, as the ledger has it.
type Removals interface {
	// Removals returns up to limit exports that are still to be deleted, the longest ordered first.
	Removals(ctx context.Context, limit int) ([]Removal, error)
	// RemovalDone notes that every destination has deleted an export.
	RemovalDone(ctx context.Context, id ID) error
	// RemovalFailed notes why one could not.
	RemovalFailed(ctx context.Context, id ID, fault string) error
}

// Removal is an export that is to be deleted.
type Removal struct {
	ID
	Object string
}

// Stranded is a request that no worker holds, as it was when it was found.
type Stranded struct {
	ID
	Attempt  int    // the latest; 0: never claimed
	Stream   string // the identity of the stream that delivered it last
	Sequence uint64
	Delivery int       // highest delivery number seen
	Since    time.Time // when the lease ended or the wait began
	// Cancelled says that the request was cancelled: it is not to be waited for, even if
	// the queue still has a delivery for it.
	Cancelled bool
}

// Leftover is the object of an attempt that lost or failed.
type Leftover struct {
	Token
	Object string
	Look   int // how often it was deleted before
}

var (
	// ErrNothingStored says that a request has no export, because it has not completed.
	ErrNothingStored = errors.New("the request has no export")
	// ErrNotLost says that a request must not be reaped: a worker holds it.
	ErrNotLost = errors.New("request not lost")
	// ErrNotBegun says that a request has attempts left and none of them was lost.
	ErrNotBegun = errors.New("request waits for an attempt")
	// ErrConflict says that a request's id belongs to a request with another payload.
	ErrConflict = errors.New("request id belongs to another payload")
)
