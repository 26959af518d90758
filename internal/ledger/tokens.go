package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/api/access"
)

const (
	insertAccess = `
INSERT INTO pgcourier.api_tokens (token_id, hash, project_id, scopes, label, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, CASE WHEN $7::interval > '0' THEN clock_timestamp() + $7::interval END)`

	insertAccessNoted = `
WITH made AS (` + insertAccess + ` RETURNING project_id, token_id)` + addCall + ` SELECT 'done', $8, $9, $10, project_id, token_id FROM made`

	selectAccess = `
SELECT token_id, project_id, scopes, label, created_at, created_by, expires_at, revoked_at, revoked_by, last_used_at, last_used_from
FROM pgcourier.api_tokens`

	listAccess = selectAccess + ` WHERE $1 = '' OR project_id = $1 ORDER BY created_at DESC, token_id`

	getAccess = selectAccess + ` WHERE token_id = $1`

	findAccess = selectAccess + `
WHERE hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())`

	revokeAccess = `
UPDATE pgcourier.api_tokens SET revoked_at = coalesce(revoked_at, clock_timestamp()),
    revoked_by = CASE WHEN revoked_at IS NULL THEN $2 ELSE revoked_by END
WHERE token_id = $1`

	revokeAccessNoted = `
WITH revoked AS (` + revokeAccess + ` RETURNING project_id, token_id)` + addCall + ` SELECT 'done', $2, $3, $4, project_id, token_id FROM revoked`

	changeAccess = `UPDATE pgcourier.api_tokens SET scopes = $2 WHERE token_id = $1 AND revoked_at IS NULL`

	accessUsed = `
UPDATE pgcourier.api_tokens SET last_used_at = clock_timestamp(), last_used_from = $2
WHERE token_id = $1 AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')`
)

type tokenRow struct {
	ID           string         `db:"token_id"`
	Project      string         `db:"project_id"`
	Scopes       []access.Scope `db:"scopes"`
	Label        string         `db:"label"`
	CreatedAt    time.Time      `db:"created_at"`
	CreatedBy    string         `db:"created_by"`
	ExpiresAt    *time.Time     `db:"expires_at"`
	RevokedAt    *time.Time     `db:"revoked_at"`
	RevokedBy    string         `db:"revoked_by"`
	LastUsedAt   *time.Time     `db:"last_used_at"`
	LastUsedFrom string         `db:"last_used_from"`
}

func (r tokenRow) token() access.Token {
	return access.Token{
		ID: r.ID, Project: r.Project, Scopes: r.Scopes, Label: r.Label, CreatedAt: r.CreatedAt.UTC(), CreatedBy: r.CreatedBy,
		ExpiresAt: utc(r.ExpiresAt), RevokedAt: utc(r.RevokedAt), RevokedBy: r.RevokedBy, LastUsedAt: utc(r.LastUsedAt), LastUsedFrom: r.LastUsedFrom,
	}
}

// AddToken records a token with the hash of its secret, and returns it as recorded. t holds its ID,
// Project, Scopes, Label and CreatedBy. The token expires after valid; 0: never.
func (l *Ledger) AddToken(ctx context.Context, t access.Token, hash access.Hash, valid time.Duration) (access.Token, error) {
	return l.addToken(ctx, t, insertAccess, t.ID, hash[:], t.Project, t.Scopes, text(t.Label), text(t.CreatedBy), valid)
}

// AddTokenNoted is AddToken by a call of the API: the call is noted if the token is made, and only then.
func (l *Ledger) AddTokenNoted(ctx context.Context, t access.Token, hash access.Hash, valid time.Duration, c Call) (access.Token, error) {
	return l.addToken(ctx, t, insertAccessNoted, t.ID, hash[:], t.Project, t.Scopes, text(t.Label), text(t.CreatedBy), valid, text(c.Subject), text(c.Address), c.Action)
}

func (l *Ledger) addToken(ctx context.Context, t access.Token, sql string, args ...any) (access.Token, error) {
	if err := l.changeToken(ctx, "record the token "+t.ID, nil, sql, args...); err != nil {
		return access.Token{}, err
	}
	return l.oneToken(ctx, "read the token "+t.ID, access.ErrNoToken, getAccess, t.ID)
}

// ErrTokenRight means that the ledger's login may not make or revoke tokens.
var ErrTokenRight = errors.New("this login may not make or revoke tokens")

// changeToken is note, and returns ErrTokenRight.
func (l *Ledger) changeToken(ctx context.Context, what string, none error, sql string, args ...any) error {
	err := l.note(ctx, what, none, sql, args...)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "42501" {
		return fmt.Errorf("%w: %w", ErrTokenRight, err)
	}
	return err
}

// Tokens returns the tokens of a project, or of all projects if project is empty, the newest first.
func (l *Ledger) Tokens(ctx context.Context, project string) ([]access.Token, error) {
	rows, err := read[tokenRow](ctx, l, "list tokens", listAccess, project)
	out := make([]access.Token, len(rows))
	for i, r := range rows {
		out[i] = r.token()
	}
	return out, err
}

// FindToken returns the token with a hash. access.ErrUnknownToken: there is none, it was revoked,
// or it has expired by the ledger's clock.
func (l *Ledger) FindToken(ctx context.Context, hash access.Hash) (access.Token, error) {
	return l.oneToken(ctx, "look up a token", access.ErrUnknownToken, findAccess, hash[:])
}

// RevokeToken revokes a token and returns it. A repeated call changes nothing. access.ErrNoToken.
func (l *Ledger) RevokeToken(ctx context.Context, id, by string) (access.Token, error) {
	return l.revokeToken(ctx, id, revokeAccess, text(id), text(by))
}

// RevokeTokenNoted is RevokeToken by a call of the API: the call is noted if the token is revoked, and only then.
func (l *Ledger) RevokeTokenNoted(ctx context.Context, id string, c Call) (access.Token, error) {
	return l.revokeToken(ctx, id, revokeAccessNoted, text(id), text(c.Subject), text(c.Address), c.Action)
}

func (l *Ledger) revokeToken(ctx context.Context, id, sql string, args ...any) (access.Token, error) {
	if err := l.changeToken(ctx, "revoke the token "+id, access.ErrNoToken, sql, args...); err != nil {
		return access.Token{}, err
	}
	return l.oneToken(ctx, "read the token "+id, access.ErrNoToken, getAccess, id)
}

// ChangeToken changes the scopes of a token. access.ErrNoToken: there is none, or it was revoked.
func (l *Ledger) ChangeToken(ctx context.Context, id string, scopes []access.Scope) error {
	return l.note(ctx, "change the scopes of the token "+id, access.ErrNoToken, changeAccess, text(id), scopes)
}

// TokenUsed records the time and address of a token's use, at most once a minute.
func (l *Ledger) TokenUsed(ctx context.Context, id, from string) error {
	return l.note(ctx, "note the use of the token "+id, nil, accessUsed, id, text(from))
}

func (l *Ledger) oneToken(ctx context.Context, what string, none error, sql string, arg any) (access.Token, error) {
	rows, err := read[tokenRow](ctx, l, what, sql, arg)
	switch {
	case err != nil:
		return access.Token{}, err
	case len(rows) == 0:
		return access.Token{}, none
	}
	return rows[0].token(), nil
}
