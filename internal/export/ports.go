package export

import (
	"context"
	"io"
	"time"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// Ledger is the record of each request and attempt. All times are its database's
// clock. Each method may return an error wrapping ErrLedgerUnavailable; repeating the
// call is then safe.
type Ledger interface {
	// Claim asks for the right to work on a request, in one transaction: insert the request if it
	// is absent, lock its row, and answer with one of five verdicts. At most one request of a
	// project is granted at a time; a refused one does not count. object gives the key for the
	// attempt's object; it is recorded with the claim, before anything is stored under it.
	Claim(ctx context.Context, c ClaimRequest) (Claim, error)
	// Renew extends the attempt's lease. ErrSuperseded: the attempt is no longer the one, or
	// its lease had ended and another request of its project runs.
	// ErrCancelled, in a Fault with Cancelled: extended, but the request was cancelled.
	Renew(ctx context.Context, t Token) error
	// Finish ends the attempt: with its outcome, which makes the request terminal, or
	// with a fault to be tried again. ErrSuperseded: nothing was changed. ErrCancelled, in
	// a Fault with Cancelled: nothing was changed, because the request was cancelled and
	// the ending says otherwise. Finishing twice with the same token is the same as once.
	Finish(ctx context.Context, t Token, e Ending) error
}

// Outbox records which outcomes the broker is known to hold.
type Outbox interface {
	// MarkPublished notes that the request's outcome is in the broker's stream.
	MarkPublished(ctx context.Context, id ID) error
}

// ClaimRequest is what a claim records.
type ClaimRequest struct {
	Request  Request
	Delivery delivery.Delivery
	Worker   string // the claiming process, for humans
	// Nonce is random and the same for each claim that the handling of one delivery
	// makes: a repeated claim after a lost reply is recognised by it and granted again, instead
	// of waiting for its own lease to end. Empty: that wait.
	Nonce string
	// Object gives the object key of an attempt.
	Object func(attempt int) string
}

// Verdict is the answer to a claim.
type Verdict int

const (
	// Granted means that the attempt is the caller's, under the token.
	Granted Verdict = iota + 1
	// Ended means that the request is terminal; its outcome is in the answer.
	Ended
	// Leased means that another attempt holds the request; ask again later.
	Leased
	// Conflicting means that the id belongs to a request with another payload.
	Conflicting
	// Busy means that another request of the same project runs; ask again later. Nothing
	// was recorded, and nothing is used up.
	Busy
)

// Claim is a ledger's answer.
type Claim struct {
	Verdict Verdict
	Token   Token         // Granted
	Outcome Outcome       // Ended
	Started time.Time     // Granted: when the attempt began, by the ledger's clock
	Wait    time.Duration // Leased, Busy: what remains of the other's lease
}

// Token fences an attempt: a write with an older attempt number changes nothing.
type Token struct {
	ID
	Attempt int
}

// Ending is how an attempt ends.
type Ending struct {
	// Outcome makes the request terminal.
	Outcome *Outcome
	// Retry releases the request for its next delivery.
	Retry *Fault

	cause error // of a failed Outcome, for the log
}

// Projects answers which schemas a project owns.
type Projects interface {
	// Lookup returns an active project. An unknown or suspended one is a Fault with
	// ProjectNotFound, the same words for both.
	Lookup(ctx context.Context, id string) (Project, error)
}

// Dumper opens consistent dumps of a source database.
type Dumper interface {
	// Open checks the source, takes a snapshot and starts the dump. Errors are Faults.
	// Cancelling ctx kills the dump. The caller closes the Dump.
	Open(ctx context.Context, j DumpJob) (Dump, error)
}

// DumpJob is one dump to run.
type DumpJob struct {
	// ID and Attempt name the request that the dump is for: an attempt after the first ends
	// what a lost attempt has left on the source. Zero: the dump is for no request.
	ID      ID
	Attempt int
	Project Project
	Schemas []string // exact names; never empty
	Format  Format
	// Jobs is how many tables are dumped at a time, for format directory only. 0: the Dumper
	// chooses.
	Jobs int
}

// Dump is a running dump.
type Dump interface {
	// Read returns what pg_dump writes. It returns io.EOF only after pg_dump exited 0;
	// any other ending is an error (a Fault where the cause is known).
	io.Reader
	// Info is what was known when the dump started.
	Info() DumpInfo
	// Rows returns count(*) of each table that the dump holds data for, in the dump's
	// own snapshot. The counts run beside the dump; Rows waits for them.
	Rows(ctx context.Context) (map[Table]int64, error)
	// Close kills what still runs, waits for its end and releases the snapshot. It is
	// idempotent.
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

// Store keeps artifacts.
type Store interface {
	// Put stores r to its end under key and calls describe, once, after r returned
	// io.EOF, for the manifest that goes beside it. If r fails, ctx ends or the bytes
	// as stored differ from the description, nothing is visible afterwards. It returns
	// one Copy for each destination. Errors are Faults where the cause is known; an
	// error of r is in the returned error's chain.
	Put(ctx context.Context, key string, r io.Reader, describe func() Manifest) ([]Copy, error)
	// Delete removes all that Put ever made under key, finished or not. A key without an object is
	// not an error.
	Delete(ctx context.Context, key string) error
}

// Manifest lies beside each stored object and makes the storage readable without the
// ledger.
type Manifest struct {
	Version int    `json:"version"` // 1
	Key     string `json:"key"`
	Outcome
	// To can read what is written of it, where the export itself is encrypted. Nil: the
	// store decides.
	To []age.Recipient `json:"-"`
}

// Observer is told how a granted attempt goes. Its methods must not block for long;
// what they cannot deliver is dropped.
type Observer interface {
	Started(ctx context.Context, s Started)
	Progress(ctx context.Context, p Progress)
}

// Started says that an attempt's dump runs.
type Started struct {
	ID
	Attempt     int
	StartedAt   time.Time
	Schemas     []string
	Format      Format
	Compression seal.Compression
	Info        DumpInfo
	Trace       Trace
}

// Progress says how far an attempt is.
type Progress struct {
	ID
	Attempt        int
	SizeBytes      int64 // read from pg_dump so far
	StoredBytes    int64 // sealed so far
	EstimatedBytes int64
	Table          string // the table in the stream now; may be empty
	At             time.Time
}
