package export

import (
	"context"
	"io"
	"time"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// Ledger is the record of each request and attempt. All times are from its database's clock. Each
// method may return an error that wraps ErrLedgerUnavailable; repeating the call is then safe.
type Ledger interface {
	// Claim requests the right to work on a request, in one transaction: it inserts the request if it
	// is absent, locks its row, and returns one of five verdicts. At most one request of a project is
	// granted at a time; a refused request does not count. object returns the key of the attempt's
	// object, which is recorded with the claim, before anything is stored under it.
	Claim(ctx context.Context, c ClaimRequest) (Claim, error)
	// Renew extends the attempt's lease. ErrSuperseded: the attempt no longer owns the request, or its
	// lease had expired and another request of its project is running. ErrCancelled, in a Fault with
	// Cancelled: the lease was extended, but the request was cancelled.
	Renew(ctx context.Context, t Token) error
	// Finish ends the attempt: with its outcome, which makes the request terminal, or with a fault to
	// retry. ErrSuperseded: nothing was changed. ErrCancelled, in a Fault with Cancelled: nothing was
	// changed, because the request was cancelled and the ending differs. Repeating it with the same
	// token changes nothing.
	Finish(ctx context.Context, t Token, e Ending) error
}

// Outbox records which outcomes are published.
type Outbox interface {
	// MarkPublished records that the request's outcome is in the broker's stream.
	MarkPublished(ctx context.Context, id ID) error
}

// ClaimRequest holds the arguments of a claim.
type ClaimRequest struct {
	Request  Request
	Delivery delivery.Delivery
	Worker   string // the claiming process, for humans
	// Nonce is random, and the same for all claims of one delivery. The ledger recognises a repeated
	// claim after a lost reply by it and grants it again. Empty: such a claim waits for its own lease
	// to end.
	Nonce string
	// Object returns the object key of an attempt.
	Object func(attempt int) string
}

// Verdict is the answer to a claim.
type Verdict int

const (
	// Granted means that the caller owns the attempt, with the token.
	Granted Verdict = iota + 1
	// Ended means that the request is terminal; the answer contains its outcome.
	Ended
	// Leased means that another attempt holds the request; ask again later.
	Leased
	// Conflicting means that the id belongs to a request with another payload.
	Conflicting
	// Busy means that another request of the same project is running; ask again later. Nothing was
	// recorded, and no attempt was used.
	Busy
)

// Claim is the ledger's answer to a claim.
type Claim struct {
	Verdict Verdict
	Token   Token         // Granted
	Outcome Outcome       // Ended
	Started time.Time     // Granted: when the attempt began, by the ledger's clock
	Wait    time.Duration // Leased, Busy: the rest of the other's lease
}

// Token is the fence of an attempt: a write with an older attempt number changes nothing.
type Token struct {
	ID
	Attempt int
}

// Ending is the end of an attempt.
type Ending struct {
	// Outcome makes the request terminal.
	Outcome *Outcome
	// Retry releases the request for its next delivery, with this fault.
	Retry *Fault
	// Unwritten says that the attempt has stored nothing, because an export lay under its key: the
	// ledger must not have that collected.
	Unwritten bool

	cause error // of a failed Outcome, for the log
}

// Projects returns the schemas of projects.
type Projects interface {
	// Lookup returns an active project. An unknown or suspended project is a Fault with
	// ProjectNotFound, with the same text for both.
	Lookup(ctx context.Context, id string) (Project, error)
}

// Dumper opens consistent dumps of a source database.
type Dumper interface {
	// Open checks the source, takes a snapshot and starts the dump. Errors are Faults. The end of ctx
	// kills the dump. The caller closes the Dump.
	Open(ctx context.Context, j DumpJob) (Dump, error)
}

// DumpJob describes a dump.
type DumpJob struct {
	// ID and Attempt name the request of the dump. An attempt after the first ends the sessions that a
	// lost attempt left on the source. Zero: the dump has no request.
	ID      ID
	Attempt int
	Project Project
	Schemas []string // exact names; never empty
	Format  Format
	// Jobs is the number of tables that are dumped at a time, for format directory only. 0: the Dumper
	// chooses.
	Jobs int
}

// Dump is a running dump.
type Dump interface {
	// Read returns the output of pg_dump. It returns io.EOF only after pg_dump exited with 0. Any
	// other end is an error, a Fault if the cause is known.
	io.Reader
	// Info describes the dump at its start.
	Info() DumpInfo
	// Rows returns count(*) of each table with data in the dump, in the dump's own snapshot. The
	// counts run beside the dump; Rows waits for them.
	Rows(ctx context.Context) (map[Table]int64, error)
	// Close kills running processes, waits for their end and releases the snapshot. It is idempotent.
	Close() error
}

// DumpInfo describes a dump at its start.
type DumpInfo struct {
	ServerVersion  string // for instance "15.18"
	PgDumpVersion  string
	EstimatedBytes int64    // of table data, from the catalogue's statistics
	Warnings       []string // what a schema dump leaves out of this project, for a human
	Needs          Needs    // what must be there before the dump is restored
}

// Store stores artifacts.
type Store interface {
	// Put stores r to its end under key. It calls describe once, after r returned io.EOF, for the
	// manifest. If r fails, ctx ends or the stored bytes differ from the description, nothing is
	// visible afterwards. ErrStored: a whole export lies under key, and stays. Put returns one Copy for
	// each destination. Errors are Faults if the cause is known; an error of r is in the returned
	// error's chain.
	Put(ctx context.Context, key string, r io.Reader, describe func() Manifest) ([]Copy, error)
	// Delete removes everything that Put stored under key, also of a failed Put. A key without an
	// object is not an error.
	Delete(ctx context.Context, key string) error
}

// Manifest is stored beside each object, so that the storage can be read without the ledger.
type Manifest struct {
	Version int    `json:"version"` // 1
	Key     string `json:"key"`
	Outcome
	// To are the recipients of what is written about an encrypted export. Nil: the store decides.
	To []age.Recipient `json:"-"`
}

// Observer gets the progress of a granted attempt. Its methods must not block for long; it drops
// what it cannot deliver.
type Observer interface {
	Started(ctx context.Context, s Started)
	Progress(ctx context.Context, p Progress)
}

// Started reports that an attempt's dump runs.
type Started struct {
	ID
	Attempt     int
	StartedAt   time.Time
	Schemas     []string
	Format      Format
	Compression seal.Compression
	Level       seal.Level // empty: no compression
	Info        DumpInfo
	Trace       Trace
}

// Progress reports the progress of an attempt.
type Progress struct {
	ID
	Attempt        int
	SizeBytes      int64 // read from pg_dump so far
	StoredBytes    int64 // sealed so far
	EstimatedBytes int64
	Table          string // the table in the stream now; may be empty
	At             time.Time
}
