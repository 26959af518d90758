package pgdump

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

// rowLimit is the most bytes that a server can send as one row, MaxAllocSize. A bytea needs two
// characters for each byte.
const rowLimit = 1<<30 - 1

// rowLook bounds the search for such a row in one table.
const rowLook = "5s"

// rowTooLarge returns a fault if a table holds a row that no pg_dump can read. PostgreSQL knows the
// length of a stored value without reading it, so one scan of the table, without TOAST, is enough. Tables
// that are not plannable are left out.
func (s *session) rowTooLarge(ctx context.Context, v *survey) error {
	tables := filter(v.counted(), relation.plannable)
	oids := make([]int64, len(tables))
	of := map[int64]relation{}
	for i, t := range tables {
		oids[i], of[t.oid] = t.oid, t
	}
	rows, err := s.conn.Query(ctx, `
SELECT c.oid::bigint, array_agg(format('coalesce(%s * octet_length(%I), 0)::bigint', CASE WHEN a.atttypid = 'bytea'::regtype THEN 2 ELSE 1 END, a.attname))
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE c.oid = ANY ($1::bigint[]::oid[]) AND c.reltoastrelid <> 0 AND a.attnum > 0 AND NOT a.attisdropped
   AND a.atttypid = ANY ('{bytea,text,varchar}'::regtype[])
 GROUP BY c.oid, c.relpages ORDER BY c.relpages DESC`, oids)
	if err != nil {
		return fmt.Errorf("look for large rows: %w", err)
	}
	type candidate struct {
		oid     int64
		lengths []string
	}
	candidates, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c candidate, err error) {
		err = row.Scan(&c.oid, &c.lengths)
		return c, err
	})
	if err != nil {
		return fmt.Errorf("look for large rows: %w", err)
	}
	for _, c := range candidates {
		t, found := of[c.oid], false
		err := s.aside(ctx, "statement_timeout = '"+rowLook+"'", func() error {
			return s.conn.QueryRow(ctx, fmt.Sprintf("SELECT EXISTS (SELECT FROM ONLY %s WHERE %s > %d)",
				t.quoted(), strings.Join(c.lengths, " + "), int64(rowLimit))).Scan(&found)
		})
		if err != nil && (ctx.Err() != nil || s.conn.IsClosed()) {
			return err
		}
		if found { // a table that could not be looked at in time is left out
			return newFault(codes.RowTooLarge, "a row of "+t.show()+" is above the 1 GB that the server can send as text: no pg_dump can read it", nil)
		}
	}
	return nil
}

// outOfLocks reports whether the server refused a lock because its lock table is full. The server uses
// the same SQLSTATE for other memory. More than one routine of lock.c adds to the lock table.
func outOfLocks(err error) bool {
	refusal, ok := errors.AsType[*pgconn.PgError](err)
	return ok && refusal.Code == "53200" && refusal.File == "lock.c"
}

// lockTable is the size of a server's lock table.
type lockTable struct{ each, sessions int }

// lockTable queries the settings that give the size of the server's lock table.
func (s *session) lockTable(ctx context.Context) (t lockTable, err error) {
	err = s.conn.QueryRow(ctx, `
SELECT current_setting('max_locks_per_transaction')::int, current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int`).
		Scan(&t.each, &t.sessions)
	return t, wrap("look at the lock table", err)
}

// fewTables is how many tables may be locked without a check of the lock table.
const fewTables = 500

// share returns how many locks one session of a dump may hold. The application needs the rest of the
// lock table.
func (t lockTable) share() int { return max(t.room()/8, fewTables) }

// tooMany reports whether there are more tables than the session may lock beside pg_dump.
func (s *session) tooMany(ctx context.Context, relations []relation) (bool, error) {
	n := len(filter(relations, relation.locked))
	if n <= fewTables {
		return false, nil
	}
	t, err := s.lockTable(ctx)
	return n > t.share(), err
}

// room returns how many locks all sessions together can hold in any case.
func (t lockTable) room() int { return t.each * t.sessions }

// fault returns the fault for too many tables, with a value of the setting that is enough.
func (t lockTable) fault(tables int, err error) *export.Fault {
	// Other sessions hold locks too, and pg_dump holds more than those of the tables.
	want := max(2*t.each, 2*(tables+t.sessions)/max(t.sessions, 1))
	return newFault(codes.SourceUnavailable, fmt.Sprintf(
		"the source has no room for more locks: %d tables are to be locked, max_locks_per_transaction is %d with %d sessions; set it to %d",
		tables, t.each, t.sessions, want), err)
}

// explainLocks turns the error of a full lock table into one that names the setting. It ends the
// transaction.
func (s *session) explainLocks(ctx context.Context, relations []relation, err error) error {
	if !outOfLocks(err) || s.script(ctx, "ROLLBACK") != nil {
		return err
	}
	t, look := s.lockTable(ctx)
	if look != nil {
		return err
	}
	return t.fault(len(filter(relations, relation.locked)), err)
}

// lookAgain is the time between two looks at a server whose lock table is full.
const lookAgain = 100 * time.Millisecond

// explainLocks turns the error of a full lock table into one that names the setting. pg_dump has ended,
// but the server may still hold its locks and refuse new sessions, so it tries again until inquiryWait.
func (o *opening) explainLocks(ctx context.Context, err error) error {
	if !outOfLocks(err) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, inquiryWait)
	defer cancel()
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for {
		explained, look := o.explain(ctx, err)
		if look == nil {
			return explained
		}
		if !outOfLocks(look) {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}

// explain does the work of explainLocks once, in a new session. look is an error of that session.
func (o *opening) explain(ctx context.Context, err error) (explained, look error) {
	ses, look := o.source.connect(ctx, o.names.snapshot)
	if look != nil {
		return nil, look
	}
	defer ses.close()
	if look := ses.begin(ctx, o.job.Project.Role, o.config.LockWaitTimeout); look != nil {
		return nil, look
	}
	now, look := ses.examine(ctx, o.job.Schemas)
	if look != nil {
		return nil, look
	}
	t, look := ses.lockTable(ctx)
	if look != nil {
		return nil, look
	}
	return t.fault(len(filter(now.relations, relation.locked)), err), nil
}

// locksMissing returns a fault if the lock table may be too small for a pg_dump of so many tables.
func (s *session) locksMissing(ctx context.Context, relations []relation) error {
	t, err := s.lockTable(ctx)
	if n := len(filter(relations, relation.locked)); err == nil && n > t.room()/2 {
		return t.fault(n, nil)
	}
	return err
}

// closed reports whether the database accepts no connections: ALLOW_CONNECTIONS is false.
func closed(err error) bool {
	refused, ok := errors.AsType[*pgconn.ConnectError](err)
	return ok && sqlState(refused) == "55000"
}
