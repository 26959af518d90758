package ledger

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Attach opens the ledger like Open, but does not change its schema. ErrNotMigrated: the schema is
// missing or older than this release. The other errors are Open's.
func Attach(ctx context.Context, c Config) (*Ledger, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure ledger: %w", err)
	}
	_, paths, err := known()
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, c.CallTimeout)
	defer cancel()
	err = c.Pool.AcquireFunc(bounded, func(conn *pgxpool.Conn) error {
		done, err := upToDate(bounded, conn.Conn(), len(paths))
		if err == nil && !done {
			err = fmt.Errorf("%w: needed is version %d", ErrNotMigrated, len(paths))
		}
		return err
	})
	if err != nil {
		return nil, classify(ctx, "look at the ledger", err)
	}
	return c.ledger(), nil
}

// missingRights lists the rights that a worker needs and lacks: it reads, adds and changes requests
// and attempts, adds and removes notes, adds storages, and carries out orders to delete. A worker
// does not use the tables of the API (api_...) and of restores (restore...). $1: it also prunes; $2: it also deletes old
// requests (their attempts are deleted by cascade). docs/least-privilege.sql grants more.
const missingRights = `
SELECT needed || ' on pgcourier.' || quote_ident(c.relname)
FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS needed
WHERE c.relnamespace = to_regnamespace('pgcourier') AND c.relkind IN ('r', 'p') AND c.relname <> 'schema_version' AND NOT starts_with(c.relname, 'api_') AND NOT starts_with(c.relname, 'restore')
    AND CASE
        WHEN c.relname IN ('requests', 'attempts') THEN needed <> 'DELETE' OR $2 AND c.relname = 'requests'
        WHEN c.relname = 'storage_notes' THEN needed <> 'UPDATE'
        WHEN c.relname = 'storages' THEN needed IN ('SELECT', 'INSERT')
        WHEN c.relname = 'removal_orders' THEN needed IN ('SELECT', 'UPDATE')
        WHEN c.relname = 'retention_rules' THEN $1 AND needed = 'SELECT'
        ELSE $1 AND needed <> 'DELETE'
    END
    AND NOT has_table_privilege(c.oid, needed)
ORDER BY c.relname, needed`

// Uses holds the further uses of the ledger by a process that exports.
type Uses struct {
	Prunes  bool
	Forgets bool // old requests
}

// MissingRights returns the rights on the ledger's tables that a worker with these uses needs and
// the login lacks, for instance "DELETE on pgcourier.storage_notes".
func (l *Ledger) MissingRights(ctx context.Context, u Uses) (missing []string, err error) {
	err = l.call(ctx, "look at the rights on the ledger", func(ctx context.Context) error {
		rows, err := l.pool.Query(ctx, missingRights, u.Prunes, u.Forgets)
		if err != nil {
			return err
		}
		missing, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return missing, err
}
