package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
)

// The claim's statements. They are sent together, in one transaction and one round trip.
// Each decides by the row itself, so that no answer is awaited while the row is locked.
// Expiry is judged by now(), the transaction's start, so that all of them agree.
const (
	insertRequest = `
INSERT INTO pgcourier.requests
    (project_id, request_id, payload, digest, refused, origin, queue, queue_sequence, delivery)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (project_id, request_id) DO NOTHING`

	// Claims and renewals of one project come one after the other, so that two of its
	// requests never run at once. The transaction's end releases the lock.
	lockProject = `SELECT pg_advisory_xact_lock(hashtextextended('pgcourier project ' || $1, 0))`

	// others: the project's other running requests; $1, $2: the id. A refused request runs
	// nothing. The condition that follows says whether expired leases count.
	others = `FROM pgcourier.requests o WHERE o.project_id = $1 AND o.request_id <> $2
    AND o.state = 'running' AND NOT o.refused AND (o.lease_until > now() OR `

	// $3 see others, $4 whether the request is refused: then it runs nothing itself.
	findOther = `SELECT max(greatest(o.lease_until - clock_timestamp(), '0')) ` + others + `$3) AND NOT $4`

	// A request that must wait for its turn is not recorded: it stays in the queue.
	insertInTurn = `
INSERT INTO pgcourier.requests
    (project_id, request_id, payload, digest, refused, origin, queue, queue_sequence, delivery)
SELECT $1, $2, $5, $6, $4, $7, $8, $9, $10 WHERE $4 OR NOT EXISTS (SELECT ` + others + `$3))
ON CONFLICT (project_id, request_id) DO NOTHING`

	// claimable: $1, $2 the id, $3 the digest, $4 the limit of attempts.
	claimable = `project_id = $1 AND request_id = $2 AND digest = $3 AND attempt < $4 AND cancel_at IS NULL
    AND (state = 'waiting' OR state = 'running' AND lease_until <= now())`

	lockRequest = `
SELECT digest = $3 AS same, state, ` + claimable + ` AS claimable,
    state = 'waiting' OR state = 'running' AND lease_until <= now() AS free, attempt,
    coalesce(lease_until - clock_timestamp(), '0') AS remains, ` + recordColumns + `
FROM pgcourier.requests WHERE project_id = $1 AND request_id = $2 FOR UPDATE`

	// A paused worker's older delivery must not lower the recorded delivery number.
	noteDelivery = `
UPDATE pgcourier.requests SET queue = $4, queue_sequence = $5, touched_at = clock_timestamp(),
    delivery = CASE WHEN queue = $4 AND queue_sequence = $5 THEN greatest(delivery, $6) ELSE $6 END
WHERE project_id = $1 AND request_id = $2 AND digest = $3 AND state IN ('waiting', 'running')
    AND (queue <> $4 OR queue_sequence <> $5 OR delivery < $6)`

	// A repeated claim after a lost reply gets its attempt again, unless its lease has expired
	// and another request of the project is running. $3 the nonce, $4 the lease, $5 see others.
	renewOwn = `
UPDATE pgcourier.requests r SET lease_until = clock_timestamp() + $4 FROM pgcourier.attempts a
WHERE r.project_id = $1 AND r.request_id = $2 AND r.state = 'running' AND a.nonce = $3
    AND a.project_id = r.project_id AND a.request_id = r.request_id AND a.attempt = r.attempt
    AND (r.refused OR r.lease_until > now() OR NOT EXISTS (SELECT ` + others + `$5)))`

	grantAttempt = `
UPDATE pgcourier.requests SET state = 'running', attempt = attempt + 1, worker = $5,
    lease_until = clock_timestamp() + $6, touched_at = clock_timestamp(),
    started_at = coalesce(started_at, clock_timestamp())
WHERE ` + claimable + ` AND (refused OR NOT EXISTS (SELECT ` + others + `$7)))`

	supersedeAttempts = `
UPDATE pgcourier.attempts a SET result = 'superseded', ended_at = clock_timestamp(),
    collect_after = CASE WHEN object IS NOT NULL THEN clock_timestamp() END
FROM pgcourier.requests r
WHERE r.project_id = $1 AND r.request_id = $2 AND a.project_id = $1 AND a.request_id = $2
    AND a.result = 'running' AND a.attempt < r.attempt`

	// $5 holds the object keys of the attempts from 1 on.
	insertAttempt = `
INSERT INTO pgcourier.attempts (project_id, request_id, attempt, worker, nonce, object, delivery)
SELECT project_id, request_id, attempt, $3, nullif($4, ''), nullif(($5::text[])[attempt], ''), $6
FROM pgcourier.requests WHERE project_id = $1 AND request_id = $2 AND state = 'running'
ON CONFLICT (project_id, request_id, attempt) DO NOTHING`

	currentAttempt = `
SELECT a.attempt, a.started_at, coalesce(a.nonce = $3, false) AND r.lease_until > now() AS mine
FROM pgcourier.requests r JOIN pgcourier.attempts a USING (project_id, request_id, attempt)
WHERE project_id = $1 AND request_id = $2 AND r.state = 'running'`
)

// seen is a request as the claim found it.
type seen struct {
	Same      bool          `db:"same"`
	State     export.State  `db:"state"`
	Claimable bool          `db:"claimable"`
	Free      bool          `db:"free"`
	Attempt   int           `db:"attempt"`
	Remains   time.Duration `db:"remains"`
	record
}

// current is the attempt that holds the request after the claim.
type current struct {
	Attempt int       `db:"attempt"`
	Started time.Time `db:"started_at"`
	Mine    bool      `db:"mine"`
}

// found is what a claim found and did.
type found struct {
	other *time.Duration // what remains of the lease of the project's other running request; nil: none runs
	was   *seen          // nil: unknown and not recorded, because another request is running
	now   *current       // nil: no attempt holds the request
}

// Claim implements export.Ledger.
func (l *Ledger) Claim(ctx context.Context, c export.ClaimRequest) (export.Claim, error) {
	what := "claim " + c.Request.String()
	var f found
	err := l.call(ctx, what, func(ctx context.Context) (err error) {
		f, err = l.claim(ctx, c)
		return err
	})
	if err != nil {
		return export.Claim{}, err
	}
	was, now := f.was, f.now
	switch {
	case was == nil:
		return f.busy(), nil
	case !was.Same:
		return export.Claim{Verdict: export.Conflicting}, nil
	case was.State == export.Completed || was.State == export.Failed:
		o, err := was.decode()
		if err != nil {
			return export.Claim{}, fmt.Errorf("%s: %w", what, err)
		}
		return export.Claim{Verdict: export.Ended, Outcome: o}, nil
	case now != nil && (now.Attempt > was.Attempt || now.Mine):
		return export.Claim{
			Verdict: export.Granted, Token: export.Token{ID: c.Request.ID, Attempt: now.Attempt}, Started: now.Started.UTC(),
		}, nil
	case was.Claimable && f.other != nil:
		return f.busy(), nil
	case was.Claimable:
		return export.Claim{}, fmt.Errorf("%s: the granted attempt is missing", what)
	case was.Free:
		return l.exhausted(ctx, c, was.Attempt)
	default:
		return export.Claim{Verdict: export.Leased, Wait: max(was.Remains, 0)}, nil
	}
}

// busy is the answer when another request of the project is running.
func (f found) busy() export.Claim {
	c := export.Claim{Verdict: export.Busy}
	if f.other != nil {
		c.Wait = *f.other
	}
	return c
}

func (l *Ledger) claim(ctx context.Context, c export.ClaimRequest) (f found, err error) {
	r, d := c.Request, c.Delivery
	from, err := encodeOrigin(r)
	if err != nil {
		return found{}, err
	}
	// The keys of all possible attempts are sent along. Asking for the attempt number first
	// would keep the row locked over a round trip, and for as long as a client is paused.
	keys := make([]string, l.maxAttempts)
	if r.Refusal == nil && c.Object != nil {
		for i := range keys {
			keys[i] = c.Object(i + 1)
		}
	}
	refused, lenient := r.Refusal != nil, l.afterOutage()
	b := &pgx.Batch{}
	b.Queue("BEGIN ISOLATION LEVEL READ COMMITTED")
	b.Queue(l.sql(lockProject), r.Project)
	b.Queue(l.sql(findOther), r.Project, r.Request, lenient, refused).QueryRow(func(row pgx.Row) error { return row.Scan(&f.other) })
	b.Queue(l.sql(insertInTurn), r.Project, r.Request, lenient, refused, orEmpty(r.Payload), r.Digest[:], from, text(d.Stream), d.Sequence, d.Number)
	b.Queue(l.sql(lockRequest), r.Project, r.Request, r.Digest[:], l.maxAttempts).Query(func(rows pgx.Rows) (err error) {
		f.was, err = oneOrNone[seen](rows)
		return err
	})
	b.Queue(l.sql(noteDelivery), r.Project, r.Request, r.Digest[:], text(d.Stream), d.Sequence, d.Number)
	b.Queue(l.sql(renewOwn), r.Project, r.Request, c.Nonce, l.lease, lenient)
	b.Queue(l.sql(grantAttempt), r.Project, r.Request, r.Digest[:], l.maxAttempts, text(c.Worker), l.lease, lenient)
	b.Queue(l.sql(supersedeAttempts), r.Project, r.Request)
	b.Queue(l.sql(insertAttempt), r.Project, r.Request, text(c.Worker), c.Nonce, keys, d.Number)
	b.Queue(l.sql(currentAttempt), r.Project, r.Request, c.Nonce).Query(func(rows pgx.Rows) (err error) {
		f.now, err = oneOrNone[current](rows)
		return err
	})
	b.Queue("COMMIT")
	return f, l.pool.SendBatch(ctx, b).Close()
}

// oneOrNone reads at most one row; nil: there was none.
func oneOrNone[T any](rows pgx.Rows) (*T, error) {
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByName[T])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // no row is an ordinary answer
	}
	return row, err
}

// exhausted ends a request that no attempt holds and that was cancelled or has used all its
// attempts. More messages than one may carry a request; the queue's own limit counts
// the deliveries of each message.
func (l *Ledger) exhausted(ctx context.Context, c export.ClaimRequest, attempt int) (export.Claim, error) {
	o, err := l.fail(ctx, export.Stranded{ID: c.Request.ID, Attempt: attempt}, 0, lost)
	if errors.Is(err, export.ErrNotLost) { // claimed meanwhile: look again
		return export.Claim{Verdict: export.Leased}, nil
	}
	return export.Claim{Verdict: export.Ended, Outcome: o}, err
}

// orEmpty keeps nil from becoming NULL.
func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
