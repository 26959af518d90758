package export

import (
	"context"
	"errors"
	"time"

	"github.com/pgcourier/pgcourier/internal/delivery"
)

// Reaper is the part of the ledger that ends requests which no worker will end, and finds outcomes
// that were never announced. Any number of processes may use it at once.
type Reaper interface {
	// Unpublished returns up to limit outcomes that became terminal at least olderThan ago and are not
	// marked as published, oldest first.
	Unpublished(ctx context.Context, olderThan time.Duration, limit int) ([]Outcome, error)
	// Stranded returns up to limit requests that no worker holds: the lease ended, or the wait for
	// another delivery began, at least grace ago. A cancelled request has no grace. The caller checks
	// whether the queue still has a delivery for it.
	Stranded(ctx context.Context, grace time.Duration, limit int) ([]Stranded, error)
	// FailStranded ends a stranded request as failed with WorkerLost, or with Cancelled if it was
	// cancelled, and returns its outcome. It supersedes a paused owner. If the request is already
	// terminal, FailStranded returns its outcome. ErrNotLost: a worker holds it, or has claimed it
	// since.
	FailStranded(ctx context.Context, s Stranded, grace time.Duration) (Outcome, error)
	// FailUnclaimed ends the request of a message that the queue will not deliver again, recorded or
	// not: with WorkerLost, or with its refusal. Otherwise it is FailStranded. ErrConflict: the id
	// belongs to a request with another payload. ErrNotBegun: nothing was changed, because no attempt
	// was lost: the request only waited until its deliveries were used up, and can still run.
	FailUnclaimed(ctx context.Context, r Request, d delivery.Delivery, grace time.Duration) (Outcome, error)
}

// Collector is the part of the ledger with the objects that attempts may have left behind.
type Collector interface {
	// Collectable returns up to limit objects to delete now. It never returns the object of an attempt
	// that completed its request or still could.
	Collectable(ctx context.Context, limit int) ([]Leftover, error)
	// Collected records that the objects were deleted. Each is returned again after a pause, because a
	// paused loser may write late.
	Collected(ctx context.Context, objects []Leftover) error
}

// Cleaner keeps the ledger from growing without a limit.
type Cleaner interface {
	// Forget deletes up to limit records, the oldest first, of requests that were over at least keep
	// ago and not after before. It returns their number. A request is over once its outcome is
	// published and nothing of it is stored: it failed, or its export was deleted. A request with
	// remaining work stays. Any number of processes may call it at once.
	// anything left to do stays. Any number may forget at once.
	Forget(ctx context.Context, keep time.Duration, before time.Time, limit int) (int, error)
}

// Removals are the orders to delete exports, as recorded in the ledger.
type Removals interface {
	// Removals returns up to limit exports that are still to be deleted, the oldest order first.
	Removals(ctx context.Context, limit int) ([]Removal, error)
	// RemovalDone records that every destination has deleted an export.
	RemovalDone(ctx context.Context, id ID) error
	// RemovalFailed records why an export could not be deleted.
	RemovalFailed(ctx context.Context, id ID, fault string) error
}

// Removal is an export that is to be deleted.
type Removal struct {
	ID
	Object string
}

// Stranded is a request that no worker holds, as it was found.
type Stranded struct {
	ID
	Attempt  int    // the latest; 0: never claimed
	Stream   string // the identity of the stream that delivered it last
	Sequence uint64
	Delivery int       // highest delivery number seen
	Since    time.Time // when the lease ended or the wait began
	// Cancelled says that the request was cancelled: it ends at once, even if the queue still has a
	// delivery for it.
	Cancelled bool
}

// Leftover is the object of an attempt that lost or failed.
type Leftover struct {
	Token
	Object string
	Look   int // number of earlier deletions
}

var (
	// ErrNothingStored says that a request has no export, because it has not completed.
	ErrNothingStored = errors.New("the request has no export")
	// ErrNotLost says that a worker holds the request, so it must not be reaped.
	ErrNotLost = errors.New("request not lost")
	// ErrNotBegun says that a request has attempts left and none of them was lost.
	ErrNotBegun = errors.New("request waits for an attempt")
	// ErrConflict says that a request's id belongs to a request with another payload.
	ErrConflict = errors.New("request id belongs to another payload")
)
