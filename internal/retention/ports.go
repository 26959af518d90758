package retention

import (
	"context"
	"errors"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

// ErrBusy says that another process prunes now.
var ErrBusy = errors.New("another process prunes now")

// Record is a stored export with what is known of its end.
type Record struct {
	Export
	Object      string // its key in the storage
	StoredBytes int64
	Copies      []export.Copy
	Trace       export.Trace // of the request
	Expiry      *Expiry      // nil: it was not marked
}

// Expiry is how far the deletion of an export has come. The times are the ledger's; a zero
// one has not come yet.
type Expiry struct {
	Reason     string    `json:"reason"`
	WarnedAt   time.Time `json:"warned_at,omitzero"`   // the notice runs from here
	DeletingAt time.Time `json:"deleting_at,omitzero"` // from here on there is no way back
	Tries      int       `json:"tries,omitzero"`       // that a destination let fail
	Fault      string    `json:"fault,omitempty"`      // of the last one
}

// Notice is the warning before a deletion.
type Notice struct {
	Record
	Reason   string
	WarnedAt time.Time
	DeleteAt time.Time // the earliest
}

// Gone is an export that was deleted from every destination.
type Gone struct {
	Record
	DeletedAt time.Time
	Results   []Result
}

// Result is what became of an export at one destination.
type Result struct {
	Destination string `json:"destination"`
	Result      string `json:"result"` // deleted, hidden, tombstoned or absent
}

// absent is the Result of what was not there.
const absent = "absent"

// Records is the ledger as the Pruner needs it.
type Records interface {
	// BeginPrune takes the one right to prune until lease has passed, and returns the
	// ledger's time. When its clock went backwards or more than gap forwards since the last
	// time, every warning is forgotten: jumped. ErrBusy.
	BeginPrune(ctx context.Context, holder string, lease, gap time.Duration) (now time.Time, jumped bool, err error)
	// KeepPruning renews it. ErrBusy: it was lost.
	KeepPruning(ctx context.Context, holder string, lease time.Duration) error
	// EndPrune gives it back. whole says that a run over all projects came to its end.
	EndPrune(ctx context.Context, holder string, whole bool) error
	// StoredProjects lists the projects that have a stored export.
	StoredProjects(ctx context.Context) ([]string, error)
	// Stored lists a project's completed exports that were not deleted.
	Stored(ctx context.Context, project string) ([]Record, error)
	// Warned notes that the warning before a deletion went out.
	Warned(ctx context.Context, id export.ID, reason string) error
	// Spare withdraws a mark, unless its deletion has begun.
	Spare(ctx context.Context, id export.ID) error
	// BeginDeletion notes that the deletion begins, unless the notice has not passed since
	// the warning, or the project would have no other good export left: then it is false.
	BeginDeletion(ctx context.Context, id export.ID, notice time.Duration) (bool, error)
	// DeletionFailed notes that a destination could not delete.
	DeletionFailed(ctx context.Context, id export.ID, fault string) error
	// Deleted notes that every destination has deleted.
	Deleted(ctx context.Context, id export.ID, results []Result) error
	// StoredAt lists keys of the newest exports that are stored at a destination and are not
	// being deleted, at most limit.
	StoredAt(ctx context.Context, destination string, limit int) ([]string, error)
	// Unannounced lists what was deleted and not announced.
	Unannounced(ctx context.Context, limit int) ([]Gone, error)
	// Announced notes that it was.
	Announced(ctx context.Context, id export.ID) error
}

// Policies tells a project's policy.
type Policies interface {
	// Policy returns the policy of a project and where it is from. known is false for a project
	// that the control plane does not have: all of its exports are kept.
	Policy(ctx context.Context, project string) (r Rules, known bool, err error)
}

// Bin deletes at one destination.
type Bin interface {
	// Destination is its name in events.
	Destination() string
	// Confirm returns why what lies there is not the storage that exports were stored at.
	Confirm(ctx context.Context) error
	// Holds reports whether a complete export lies under a key.
	Holds(ctx context.Context, key string) (bool, error)
	// Remove deletes everything under a key and says what became of it. An object that is gone
	// already is "absent" and not an error.
	Remove(ctx context.Context, key string) (result string, err error)
}

// Announcer tells of deletions.
type Announcer interface {
	// Expiring warns that an export goes.
	Expiring(ctx context.Context, w Notice) error
	// Expired says that it is gone. A second time is no error.
	Expired(ctx context.Context, g Gone) error
}
