package restore

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/libpq"
)

// markerSQL creates the place of the markers in a target database. A login with CREATE on the
// database executes it itself. For another login an administrator does, and grants it the use of the
// schema and SELECT, INSERT, UPDATE and DELETE on both tables.
const markerSQL = `
CREATE SCHEMA IF NOT EXISTS pgcourier_restore;
CREATE TABLE IF NOT EXISTS pgcourier_restore.markers (
  id text PRIMARY KEY,
  state text NOT NULL CHECK (state IN ('placed', 'refused')),
  at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  placed text
);
CREATE TABLE IF NOT EXISTS pgcourier_restore.kept (
  schema oid PRIMARY KEY,
  name text NOT NULL,
  id text NOT NULL,
  until timestamptz NOT NULL
);`

const (
	markPlaced  = "placed"
	markRefused = "refused"
)

// lockKey returns the key of an advisory lock of the target database.
func lockKey(kind, name string) int64 {
	sum, _ := hex.DecodeString(idHash("pgcourier restore " + kind + " " + name)) // of our own encoding
	return int64(binary.BigEndian.Uint64(sum))                                   //nolint:gosec // any 64 bits
}

// markers reports whether the place of the markers exists in the database.
func markers(ctx context.Context, conn *pgx.Conn) (bool, error) {
	var n int
	err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'pgcourier_restore' AND c.relname IN ('markers', 'kept')`).Scan(&n)
	return n == 2, err
}

// makeMarkers creates the place of the markers if it is missing, in a transaction of its own.
func makeMarkers(ctx context.Context, conn *pgx.Conn) error {
	there, err := markers(ctx, conn)
	if there || err != nil {
		return err
	}
	if err := trustMarkers(ctx, conn, "", false); err != nil { // a schema without the tables
		return err
	}
	// IF NOT EXISTS does not cover another session's creation at the same time.
	_, err = conn.PgConn().Exec(ctx, fmt.Sprintf("BEGIN; SELECT pg_catalog.pg_advisory_xact_lock(%d); %s COMMIT", lockKey("markers", ""), markerSQL)).ReadAll()
	if err != nil {
		_, _ = conn.PgConn().Exec(ctx, "ROLLBACK").ReadAll() // the first error counts
	}
	if sqlState(err) == insufficientPrivilege {
		return fmt.Errorf("%w: the login needs CREATE on the database, or the tables that docs/operate.md lists: %w", ErrForbidden, err)
	}
	return err
}

// settleID ends the sessions of other attempts with the ID and waits until they are gone, in conn's
// transaction, which then holds the lock of the ID. A backend releases its locks after its COMMIT can
// be seen. A session is found by its name, or by its lock: code of the export can change the name.
func settleID(ctx context.Context, conn *pgx.Conn, id string) error {
	key := lockKey("id", id)
	_, err := conn.Exec(ctx, `SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity a
		WHERE usename = session_user AND datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid() AND (application_name = $1
		   OR EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.pid = a.pid AND l.database = a.datid AND l.granted
		                 AND l.locktype = 'advisory' AND l.objsubid = 1 AND (l.classid::int8 << 32) | l.objid::int8 = $2))`, applicationOf(id), key)
	if err != nil {
		return err
	}
	return takeLock(ctx, conn, key, "an earlier attempt of this restore does not end")
}

// takeLock takes an advisory lock until the end of the transaction. After lock_timeout it is ErrBusy.
func takeLock(ctx context.Context, conn *pgx.Conn, key int64, busy string) error {
	_, err := conn.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock($1)", key)
	if sqlState(err) == lockNotAvailable {
		return fmt.Errorf("%w: %s", ErrBusy, busy)
	}
	return err
}

// lockNotAvailable is the SQLSTATE after lock_timeout.
const lockNotAvailable = "55P03"

// readMarker returns the placement that has committed with the ID; ErrRefused for a tombstone.
func readMarker(ctx context.Context, conn *pgx.Conn, id string) (p Placed, committed bool, err error) {
	var state string
	var text *string
	err = conn.QueryRow(ctx, "SELECT state, placed FROM pgcourier_restore.markers WHERE id = $1", id).Scan(&state, &text)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Placed{}, false, nil
	case err != nil:
		return Placed{}, false, err
	case state == markRefused:
		return Placed{}, false, ErrRefused
	case text == nil:
		return Placed{ID: id}, true, nil
	}
	if err := json.Unmarshal([]byte(*text), &p); err != nil {
		return Placed{}, false, fmt.Errorf("the marker of restore %s: %w", id, err)
	}
	return p, true, nil
}

// Committed reports whether the placement with the ID has committed in the target. An attempt that
// still runs can commit later: Place and Refuse end it.
func (r *Restorer) Committed(ctx context.Context, target *libpq.Source, id string) (Placed, bool, error) {
	ses, err := open(ctx, target)
	if err != nil {
		return Placed{}, false, err
	}
	defer ses.Close()
	if there, err := markers(ctx, ses.Conn); err != nil || !there {
		return Placed{}, false, ofTargetError(err, "look for markers")
	}
	if err := trustMarkers(ctx, ses.Conn, "", false); err != nil {
		return Placed{}, false, ofTargetError(err, "look for markers")
	}
	p, committed, err := readMarker(ctx, ses.Conn, id)
	if errors.Is(err, ErrRefused) {
		return Placed{}, false, nil
	}
	return p, committed, ofTargetError(err, "read the marker")
}

// Refuse ends all attempts of the placement with the ID, and makes sure that none commits later. If
// one has committed, Refuse returns what it placed.
func (r *Restorer) Refuse(ctx context.Context, target *libpq.Source, id string) (p Placed, committed bool, err error) {
	ses, err := open(ctx, target)
	if err != nil {
		return Placed{}, false, err
	}
	defer ses.Close()
	if err := makeMarkers(ctx, ses.Conn); err != nil {
		return Placed{}, false, ofTargetError(err, "create the place of the markers")
	}
	err = r.within(ctx, ses.Conn, func(tx pgx.Tx) error {
		if err := settleID(ctx, tx.Conn(), id); err != nil {
			return err
		}
		if err := trustMarkers(ctx, tx.Conn(), "", true); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO pgcourier_restore.markers (id, state) VALUES ($1, '"+markRefused+"') ON CONFLICT (id) DO NOTHING", id); err != nil {
			return err
		}
		p, committed, err = readMarker(ctx, tx.Conn(), id)
		switch {
		case errors.Is(err, ErrRefused):
			return nil
		case err == nil && !committed:
			return errors.New("the refusal was not written: something in the target intercepts it")
		}
		return err
	})
	return p, committed, ofTargetError(err, "write the tombstone")
}

// within runs f in a transaction of which each statement sees what has committed before it, also
// where the database's default is another, and in which each wait for a lock is bounded.
func (r *Restorer) within(ctx context.Context, conn *pgx.Conn, f func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, r.lockWait()); err != nil {
			return err
		}
		return f(tx)
	})
}

// lockWait returns the statement that bounds each wait for a lock in the transaction.
func (r *Restorer) lockWait() string {
	return fmt.Sprintf("SET LOCAL lock_timeout = %d", max(1, r.config.LockWait.Milliseconds()))
}

// Kept is what one placement with Replace has kept in a target.
type Kept struct {
	Schemas []string
	Until   time.Time // by the target's clock
}

// DropKept drops the schemas that Replace has kept in the target and that are due by the target's clock, if
// due agrees: the target's clock may be wrong. It returns their names, and those of the kept ones that are
// left; nil: not known. It drops nothing outside of them: if objects outside depend on what a restore has
// kept, all of that stays, and a *KeptError says why. One that was renamed, or dropped by hand, is kept from then on and forgotten.
func (r *Restorer) DropKept(ctx context.Context, target *libpq.Source, due func(Kept) bool) (dropped, left []string, err error) {
	ses, err := open(ctx, target)
	if err != nil {
		return nil, nil, err
	}
	defer ses.Close()
	there, err := markers(ctx, ses.Conn)
	switch {
	case err != nil:
		return nil, nil, ofTargetError(err, "look for markers")
	case !there:
		return nil, []string{}, nil
	}
	if err := trustMarkers(ctx, ses.Conn, "", false); err != nil {
		return nil, nil, ofTargetError(err, "look for markers")
	}
	ids, err := dueKept(ctx, ses.Conn, due)
	if err != nil {
		return nil, nil, ofTargetError(err, "look for kept schemas")
	}
	failed := map[string]error{}
	var faults []error
	for _, id := range ids {
		names, err := r.dropOf(ctx, ses.Conn, id)
		dropped = append(dropped, names...)
		if err != nil {
			failed[id] = fmt.Errorf("what restore %s has kept: %w", id, err)
			faults = append(faults, failed[id])
		}
		if ses.Conn.IsClosed() {
			return dropped, nil, errors.Join(append(faults, fmt.Errorf("%w: the connection was lost", ErrTarget))...)
		}
	}
	left, err = stuck(ctx, ses.Conn, failed)
	return dropped, left, err
}

// stuck returns the names of all kept schemas. If some of their restores have failed to be dropped, the
// error is a *KeptError.
func stuck(ctx context.Context, conn *pgx.Conn, failed map[string]error) ([]string, error) {
	left, why := []string{}, map[string]error{}
	rows, err := conn.Query(ctx, "SELECT name, id FROM pgcourier_restore.kept ORDER BY name", pgx.QueryExecModeExec)
	if err == nil {
		var name, id string
		_, err = pgx.ForEachRow(rows, []any{&name, &id}, func() error {
			left = append(left, name)
			if failed[id] != nil {
				why[name] = failed[id]
			}
			return nil
		})
	}
	if err != nil {
		return nil, ofTargetError(err, "look for kept schemas")
	}
	if len(why) > 0 {
		return left, &KeptError{why}
	}
	return left, nil
}

// dueKept returns the IDs of the placements of which all that is kept is due, the oldest first.
func dueKept(ctx context.Context, conn *pgx.Conn, due func(Kept) bool) (ids []string, err error) {
	rows, err := conn.Query(ctx, `SELECT id, array_agg(name ORDER BY name), max(until) FROM pgcourier_restore.kept
		GROUP BY id HAVING max(until) <= pg_catalog.clock_timestamp() ORDER BY max(until), id`)
	if err != nil {
		return nil, err
	}
	var id string
	var k Kept
	_, err = pgx.ForEachRow(rows, []any{&id, &k.Schemas, &k.Until}, func() error {
		if due(k) {
			ids = append(ids, id)
		}
		return nil
	})
	return ids, err
}

// keptNames returns the names of all schemas that hold what was moved aside. The name of one can be given
// to another schema, its OID cannot.
func keptNames(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	if there, err := markers(ctx, conn); err != nil || !there {
		return nil, err
	}
	return strs(ctx, conn, `SELECT n.nspname::text FROM pgcourier_restore.kept k JOIN pg_catalog.pg_namespace n
		ON n.oid = k.schema AND n.nspname = k.name ORDER BY n.oid`)
}

// dropOf drops in one transaction what a restore has kept, because its schemas can depend on each other,
// and returns their names.
func (r *Restorer) dropOf(ctx context.Context, conn *pgx.Conn, id string) (dropped []string, err error) {
	err = r.within(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL client_min_messages = warning"); err != nil {
			return err
		}
		// Another process may drop them at the same time: it waits here, and then finds none.
		dropped, err = strs(ctx, tx.Conn(), `WITH gone AS (DELETE FROM pgcourier_restore.kept WHERE id = $1 RETURNING schema, name)
			SELECT n.nspname::text FROM gone JOIN pg_catalog.pg_namespace n ON n.oid = gone.schema AND n.nspname = gone.name ORDER BY n.oid`, id)
		if err != nil || len(dropped) == 0 {
			return err
		}
		statements := []string{cleanBlock(dropped)}
		for _, name := range dropped {
			statements = append(statements, "DROP SCHEMA "+quoted(name))
		}
		for _, statement := range statements {
			if _, err := tx.Conn().PgConn().Exec(ctx, statement).ReadAll(); err != nil {
				return err
			}
		}
		return nil
	})
	switch state := sqlState(err); {
	case err == nil:
		return dropped, nil
	case state == inTheWay:
		return nil, &DependentsError{Objects: []string{strings.TrimPrefix(oneLine(err.Error()), "ERROR: ")}, replaced: true}
	case state == lockNotAvailable:
		return nil, fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return nil, ofTargetError(err, "drop it")
}

// open connects to the target, not as an attempt.
func open(ctx context.Context, target *libpq.Source) (*libpq.Session, error) {
	ses, err := target.Connect(ctx, map[string]string{"application_name": application, "search_path": "pg_catalog"})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTarget, err)
	}
	return ses, nil
}

// ofTargetError classifies an error of a statement of the restorer itself.
func ofTargetError(err error, doing string) error {
	switch state := sqlState(err); {
	case err == nil:
		return nil
	case ofTarget(err):
		return err
	case state == insufficientPrivilege:
		return fmt.Errorf("%w: %s: %w", ErrForbidden, doing, err)
	case state == outOfMemory:
		return fmt.Errorf("%w: a replacement locks the old and the new tables, raise max_locks_per_transaction: %s: %w", ErrLocks, doing, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrTarget, doing, err)
}
