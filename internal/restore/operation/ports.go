package operation

import (
	"context"
	"errors"
	"time"

	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// ErrUnsettled says that an attempt has begun to change the target, so that the restore must not end
// as failed before the target has refused it.
var ErrUnsettled = errors.New("the target has not refused the restore")

// ErrRefused says that the target has refused the restore: it can never commit.
var ErrRefused = errors.New("the restore was refused by the target")

// Ledger is the record of each restore and attempt. Claim, Renew and Finish are those of
// export.Ledger, with two differences. Finish with a completed outcome succeeds after a cancel too.
// Finish with a failed outcome is ErrUnsettled if an attempt has begun to place.
//
// Each method may return an error that wraps export.ErrLedgerUnavailable; repeating the call is then
// safe.
type Ledger interface {
	export.Ledger
	// FinishSettled is Finish after the target has refused the restore.
	FinishSettled(ctx context.Context, t export.Token, e export.Ending) error
	// Resolve records the export that the restore is of, and returns the one that an earlier attempt
	// recorded. ErrSuperseded.
	Resolve(ctx context.Context, t export.Token, from export.ID) (export.ID, error)
	// BeginPlacing records that the attempt begins to change a target, and returns the digest of the
	// target in which the first attempt did so. ErrSuperseded.
	BeginPlacing(ctx context.Context, t export.Token, target []byte) (first []byte, err error)
	// Unanswered records that the target does not answer how the restore ended, and returns since when
	// it has not. A pause of more than gap between two questions starts that time again.
	// export.ErrNotLost: the restore has ended.
	Unanswered(ctx context.Context, id export.ID, gap time.Duration) (time.Duration, error)
	// Answered records that the target answers.
	Answered(ctx context.Context, id export.ID) error
	// Standing returns what is recorded of a restore.
	Standing(ctx context.Context, id export.ID) (Standing, error)

	// The rest is for the Reaper. FailStranded and FailUnclaimed, and Claim for a restore without
	// attempts left, return ErrUnsettled where End must be used.
	export.Reaper
	// End ends a restore that no attempt holds, after the target was asked. export.ErrNotLost: an
	// attempt holds it, or has claimed it since.
	End(ctx context.Context, s export.Stranded, grace time.Duration, how Settlement) (export.Outcome, error)
}

// Standing is what is recorded of a restore beside its state.
type Standing struct {
	From    export.ID     // zero: not resolved yet
	Target  []byte        // digest of the target that an attempt began to change; nil: none has
	Marker  string        // random, of this row; empty: the row is older than such values
	Attempt int           // the latest
	Payload []byte        // canonical JSON; nil: refused
	Age     time.Duration // since the last lease ended or the wait began; negative while it is held
	// Unanswered says that the target was asked how the restore ended, and has not answered since.
	Unanswered bool
}

// Settlement is how a restore ended that no attempt will end: completed with Restored, or failed with
// Fault. Neither: its worker was lost.
type Settlement struct {
	Restored []byte // a Result, as JSON
	Fault    *export.Fault
}

// Target is where a project's restores go: the control plane's answer.
type Target struct {
	DSN    export.Secret // empty: the control plane's own database
	Schema string        // empty: the export's own schemas
	Owner  string        // role that owns what is restored; empty: the login
	// AllowFrom are the other projects whose exports may be restored here.
	AllowFrom    []string
	AllowReplace bool
}

// Targets looks targets up.
type Targets interface {
	// Lookup returns a project's target. Errors are Faults with RestoreDisabled or ProjectNotFound, or
	// wrap export.ErrLedgerUnavailable.
	Lookup(ctx context.Context, project string) (Target, error)
}

// Exports finds stored exports.
type Exports interface {
	// Latest returns the request of a project's newest export; empty: there is none.
	Latest(ctx context.Context, project string, verified bool) (request string, err error)
	// Completed returns the outcome of a stored export; nil: there is no such export, or it was
	// deleted.
	Completed(ctx context.Context, id export.ID) (*export.Outcome, error)
}

// Engine changes targets. All its errors are Faults. Its methods may be called at once for different
// restores, and for one restore by several processes.
type Engine interface {
	// Identity returns the digest of a target's host, port, database and schema.
	Identity(t Target) ([]byte, error)
	// Plan returns what Place would do, and changes nothing.
	Plan(ctx context.Context, j Job) (Result, error)
	// Place restores in one transaction of the target, in which it inserts the restore's marker. After
	// an error the target is unchanged, unless Committed says otherwise. ErrRefused: Refuse was called.
	Place(ctx context.Context, j Job, progress func(Progress)) (Result, error)
	// Committed returns the result of the restore if the target has committed it.
	Committed(ctx context.Context, j Job) (*Result, error)
	// Refuse makes sure that the restore can never commit, and returns nil; or returns the result of
	// the restore, which has committed.
	Refuse(ctx context.Context, j Job) (*Result, error)
}

// Job is one restore.
type Job struct {
	ID     export.ID
	Marker string // as Standing has it
	Target Target
	Order  Order
	// Export is the outcome of the export. Committed and Refuse do not need it.
	Export *export.Outcome
}

// MarkerID returns the id under which the target knows the restore. It holds a random value of the
// ledger's row: after that row is deleted, another restore with the same ID has another marker.
func (j Job) MarkerID() string {
	if j.Marker == "" {
		return j.ID.String()
	}
	return j.ID.String() + "#" + j.Marker
}

// Order is a valid request, as its payload holds it.
type Order struct {
	From    OrderFrom `json:"from"`
	Mode    string    `json:"mode"`
	Schemas []string  `json:"schemas"`
	Tables  []string  `json:"tables"` // as in the contract
	Plan    bool      `json:"plan"`
}

// OrderFrom names the export, perhaps by a word for the latest one.
type OrderFrom struct {
	Project string `json:"project_id"`
	Request string `json:"request_id"`
}

// The contract's words.
const (
	Replace        = "replace"
	latest         = "latest"
	latestVerified = "latest_verified"
)

// Result is what a restore restored, or what a plan says that it would.
type Result struct {
	From          export.ID `json:"from"`
	Mode          string    `json:"mode"`
	Plan          bool      `json:"plan,omitempty"`
	Schemas       []string  `json:"schemas"` // of the target
	Tables        int       `json:"tables"`
	Rows          int64     `json:"rows"`
	SHA256        string    `json:"sha256,omitempty"` // of the export's stored bytes
	ServerVersion string    `json:"server_version"`
	Kept          []string  `json:"kept,omitempty"` // schemas that hold what was set aside
	KeptUntil     time.Time `json:"kept_until,omitzero"`
	Remarks       []string  `json:"remarks,omitempty"` // safe to show
}

// Progress is the progress of an attempt.
type Progress struct {
	export.ID
	Attempt     int
	Stage       string
	ReadBytes   int64 // of the stored bytes, in this stage
	StoredBytes int64
	At          time.Time
}

// Started reports that an attempt begins.
type Started struct {
	export.ID
	Attempt     int
	From        export.ID
	Mode        string
	Plan        bool
	StoredBytes int64
	StartedAt   time.Time
	Trace       export.Trace
}

// Observer gets the progress of attempts. Its methods must not block for long.
type Observer interface {
	RestoreStarted(ctx context.Context, s Started)
	RestoreProgress(ctx context.Context, p Progress)
}

// delivered is a delivery with the options of its run.
type delivered struct {
	delivery.Delivery
	standBy bool // while another attempt holds the restore
}
