package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

// VerificationOrder is an order to verify a completed export once more. A verifier holds it for a time
// and renews that.
type VerificationOrder struct {
	export.ID
	OrderedAt time.Time
	Try       int // from 1; with OrderedAt it tells this holder from a later one
}

// ErrOrderLost means that another verifier holds the order, or that it was carried out.
var ErrOrderLost = errors.New("the order to verify is no longer held")

const (
	orderVerification = `
WITH known AS (
    SELECT project_id, request_id, state = 'completed' AND removed_at IS NULL AS stored
    FROM pgcourier.requests WHERE project_id = $1 AND request_id = $2
), ordered AS (
    INSERT INTO pgcourier.verification_orders AS o (project_id, request_id, ordered_by)
    SELECT project_id, request_id, $3 FROM known WHERE stored
    ON CONFLICT (project_id, request_id) DO UPDATE SET ordered_at = clock_timestamp(), ordered_by = excluded.ordered_by,
        tries = 0, held_until = NULL, fault = NULL, done_at = NULL
    WHERE o.done_at IS NOT NULL RETURNING 1
), noted AS (` + addCall + ` SELECT 'done', $3, $4, $5, $1, $2 FROM ordered)
SELECT stored FROM known`

	// A verifier that was killed in its last try has not closed the order.
	takeVerification = `
WITH given_up AS (
    UPDATE pgcourier.verification_orders SET done_at = clock_timestamp(), held_until = NULL, fault = 'each verifier ended before the verification did'
    WHERE done_at IS NULL AND tries >= $2 AND held_until <= clock_timestamp())
UPDATE pgcourier.verification_orders SET tries = tries + 1, held_until = clock_timestamp() + $1::interval
WHERE (project_id, request_id) = (
    SELECT project_id, request_id FROM pgcourier.verification_orders
    WHERE done_at IS NULL AND tries < $2 AND (held_until IS NULL OR held_until <= clock_timestamp())
    ORDER BY ordered_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING project_id, request_id, ordered_at, tries`

	heldVerification = ` WHERE project_id = $1 AND request_id = $2 AND ordered_at = $3 AND tries = $4 AND done_at IS NULL`

	holdVerification = `
UPDATE pgcourier.verification_orders SET held_until = clock_timestamp() + $5::interval` + heldVerification

	verificationDone = `
UPDATE pgcourier.verification_orders SET done_at = clock_timestamp(), held_until = NULL, fault = NULL` + heldVerification

	verificationNotMade = `
UPDATE pgcourier.verification_orders SET tries = CASE WHEN $5 = '' THEN tries - 1 ELSE tries END, fault = nullif($5, ''), held_until = clock_timestamp() + $6::interval,
    done_at = CASE WHEN $7::boolean THEN clock_timestamp() END` + heldVerification
)

// OrderVerification records the order to verify a stored export, together with the call. A verifier
// carries it out. While an order is open another one changes nothing. export.ErrUnknown: there is no
// such request. export.ErrNothingStored: it has not completed, or its export was deleted.
func (l *Ledger) OrderVerification(ctx context.Context, id export.ID, c Call) error {
	what := "order the verification of " + id.String()
	rows, err := read[struct {
		Stored bool `db:"stored"`
	}](ctx, l, what, orderVerification, id.Project, id.Request, text(c.Subject), text(c.Address), c.Action)
	switch {
	case err != nil:
		return err
	case len(rows) == 0:
		return fmt.Errorf("%s: %w", what, export.ErrUnknown)
	case !rows[0].Stored:
		return fmt.Errorf("%s: %w", what, export.ErrNothingStored)
	}
	return nil
}

// TakeVerification takes the oldest open order and holds it for a time; nil: there is none. It closes
// orders that were taken so many times and whose last holder is gone.
func (l *Ledger) TakeVerification(ctx context.Context, hold time.Duration, tries int) (*VerificationOrder, error) {
	rows, err := read[struct {
		Project   string    `db:"project_id"`
		Request   string    `db:"request_id"`
		OrderedAt time.Time `db:"ordered_at"`
		Tries     int       `db:"tries"`
	}](ctx, l, "take an order to verify", takeVerification, hold, tries)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	r := rows[0]
	return &VerificationOrder{export.ID{Project: r.Project, Request: r.Request}, r.OrderedAt.UTC(), r.Tries}, nil
}

// HoldVerification holds an order for a further time. ErrOrderLost.
func (l *Ledger) HoldVerification(ctx context.Context, o VerificationOrder, hold time.Duration) error {
	return l.note(ctx, "hold the order to verify "+o.ID.String(), ErrOrderLost, holdVerification, o.Project, o.Request, o.OrderedAt, o.Try, hold)
}

// VerificationDone records that an order was carried out. ErrOrderLost.
func (l *Ledger) VerificationDone(ctx context.Context, o VerificationOrder) error {
	return l.note(ctx, "note the verification of "+o.ID.String()+" as done", ErrOrderLost, verificationDone, o.Project, o.Request, o.OrderedAt, o.Try)
}

// VerificationNotMade records why a verification could not be made. The order is open again after a
// pause, or closed with last. Without a fault the verifier stops, and its try does not count. ErrOrderLost.
func (l *Ledger) VerificationNotMade(ctx context.Context, o VerificationOrder, fault string, pause time.Duration, last bool) error {
	return l.note(ctx, "note that "+o.ID.String()+" was not verified", ErrOrderLost, verificationNotMade, o.Project, o.Request, o.OrderedAt, o.Try, text(fault), pause, last)
}
