package pgdump

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

// hindrance is a lock of another session that blocks pg_dump.
type hindrance struct {
	schema, relation string
	granted          bool
	state            string // of the session; empty: the login may not see it, or it is a prepared transaction
	age              *int64 // seconds since its transaction began
}

// fault returns a lock_timeout that names the relation and the session.
func (h hindrance) fault(err error) *export.Fault {
	return newFault(codes.LockTimeout, h.words(), err)
}

// words names the relation and the session.
func (h hindrance) words() string {
	what := "awaits"
	if h.granted {
		what = "holds"
	}
	message := fmt.Sprintf("another session %s %s for too long", what, showName(h.schema, h.relation))
	if h.age != nil && h.state != "" {
		message += fmt.Sprintf(": its transaction began %s ago, its state is %q", time.Duration(*h.age)*time.Second, printable(h.state))
	} else {
		message += ": its state is not shown to this login (pg_read_all_stats shows it), or it is a prepared transaction"
	}
	return message
}

// scanHindrance scans the one row of a query; nil: no row.
func scanHindrance(row pgx.Row) (*hindrance, error) {
	var h hindrance
	switch err := row.Scan(&h.schema, &h.relation, &h.granted, &h.state, &h.age); {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil //nolint:nilnil // no lock is in the way
	case err != nil:
		return nil, fmt.Errorf("look at the locks: %w", err)
	}
	return &h, nil
}

// lockInTheWay returns the lock of another session that blocks pg_dump on a relation of these schemas.
// Locks that another session waits for count too: ACCESS SHARE queues behind earlier requests.
func (s *session) lockInTheWay(ctx context.Context, schemas []int64) (*hindrance, error) {
	return scanHindrance(s.conn.QueryRow(ctx, `
SELECT n.nspname::text, c.relname::text, l.granted, coalesce(a.state, ''), extract(epoch FROM clock_timestamp() - a.xact_start)::bigint
  FROM pg_catalog.pg_locks l
  JOIN pg_catalog.pg_database d ON d.oid = l.database
  JOIN pg_catalog.pg_class c ON c.oid = l.relation
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
 WHERE d.datname = current_database() AND l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
   AND c.relnamespace = ANY ($1::bigint[]::oid[]) AND c.relkind NOT IN ('i', 'I')
 ORDER BY l.granted DESC, a.xact_start LIMIT 1`, schemas))
}

// blamed adds the session that holds the lock to a lock_timeout. It ends the transaction.
func (s *session) blamed(ctx context.Context, schemas []int64, err error) error {
	f, ok := errors.AsType[*export.Fault](err)
	if !ok || f.Code != codes.LockTimeout || s.script(ctx, "ROLLBACK") != nil {
		return err
	}
	if h, look := s.lockInTheWay(ctx, schemas); look == nil && h != nil {
		return h.fault(err)
	}
	return err
}

// lockLook is the pause between two checks of the locks of a silent pg_dump.
const lockLook = 10 * time.Second

// followLocks ends the dump when pg_dump waits for a lock for longer than LockWaitTimeout.
// Its own --lock-wait-timeout applies to tables only: pg_get_viewdef and similar functions wait
// without a limit. The source is queried only while pg_dump is silent.
func (o *opening) followLocks(ctx context.Context, d *dump) {
	limit := o.config.LockWaitTimeout
	t := time.NewTicker(max(min(limit/10, time.Second), time.Millisecond))
	defer t.Stop()
	var next time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.process.Exited():
			return
		case now := <-t.C:
			if now.Before(next) || d.watch.silence() < limit {
				continue
			}
			next = now.Add(min(limit, lockLook))
		}
		h, err := o.awaited(ctx, limit)
		if h != nil {
			d.cancel(h.fault(errLockWait))
			return
		}
		if err != nil && ctx.Err() == nil {
			o.config.Logger.WarnContext(ctx, "the locks of a silent pg_dump could not be checked", "project_id", o.job.Project.ID, "error", err)
		}
	}
}

var errLockWait = errors.New("pg_dump waits for a lock")

// awaited returns the lock that pg_dump has waited for at least since; nil: none.
func (o *opening) awaited(ctx context.Context, since time.Duration) (*hindrance, error) {
	ctx, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	ses, err := o.source.connect(ctx, o.names.snapshot)
	if err != nil {
		return nil, err
	}
	defer ses.close()
	// waitstart exists from version 14 on.
	return scanHindrance(ses.conn.QueryRow(ctx, `
SELECT n.nspname::text, c.relname::text, EXISTS (
         SELECT FROM pg_catalog.pg_locks h WHERE h.pid = b.pid AND h.granted AND h.relation = l.relation),
       coalesce(x.state, ''), extract(epoch FROM clock_timestamp() - x.xact_start)::bigint
  FROM pg_catalog.pg_stat_activity a
  JOIN pg_catalog.pg_locks l ON l.pid = a.pid AND NOT l.granted
  JOIN pg_catalog.pg_class c ON c.oid = l.relation
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 CROSS JOIN unnest(pg_catalog.pg_blocking_pids(a.pid)) AS b (pid)
  LEFT JOIN pg_catalog.pg_stat_activity x ON x.pid = b.pid
 WHERE a.application_name = $1 AND clock_timestamp() - coalesce((to_jsonb(l) ->> 'waitstart')::timestamptz, a.query_start) >= make_interval(secs => $2)
 ORDER BY x.xact_start LIMIT 1`, o.names.dump, since.Seconds()))
}
