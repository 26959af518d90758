package restore

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// confined executes statements of the export with the rights of the owner, and of no other role. SET ROLE
// alone is no boundary: a function of the export, called by a check or an index, can reset it and then
// has the rights of the login. Within a function that is SECURITY DEFINER the server refuses each change
// of the role, and each end of the transaction. So such a function of the owner executes the statements.
//
// Outside of the function the search_path holds trusted schemas only, whatever the export has set.
type confined struct {
	conn *pgconn.PgConn
	name string // of the function, quoted
	oid  uint32
	// version is the place of the function's row in pg_proc. The owner could change the function, which
	// moves the row.
	version string
}

// trustedPath is the search_path for statements of the restorer. Named last, the schema of temporary
// objects does not hide the catalogue.
const trustedPath = "pg_catalog, pg_temp"

// confinedSQL creates the function. The first verb is its name. pg_dump qualifies all names, and
// expects an empty search_path.
const confinedSQL = `CREATE FUNCTION %s(command pg_catalog.text, answers pg_catalog.bool) RETURNS pg_catalog.text LANGUAGE plpgsql SECURITY DEFINER AS %s
DECLARE
  answer pg_catalog.text;
BEGIN
  PERFORM pg_catalog.set_config('search_path', '', false);
  IF answers THEN
    EXECUTE command INTO answer;
  ELSE
    EXECUTE command;
  END IF;
  PERFORM pg_catalog.set_config('search_path', '` + trustedPath + `', false);
  RETURN answer;
END%[2]s`

// confine creates the function in a schema, as the current role.
func confine(ctx context.Context, conn *pgx.Conn, schema string) (*confined, error) {
	c := &confined{conn: conn.PgConn(), name: pgx.Identifier{schema, "pgcourier_" + strings.ToLower(rand.Text())}.Sanitize()}
	tag := "$c" + strings.ToLower(rand.Text()) + "$"
	if _, err := conn.Exec(ctx, fmt.Sprintf(confinedSQL, c.name, tag)); err != nil {
		return nil, err
	}
	return c, conn.QueryRow(ctx, "SELECT oid, ctid::text FROM pg_catalog.pg_proc WHERE oid = pg_catalog.to_regprocedure($1)", c.signature()).Scan(&c.oid, &c.version)
}

func (c *confined) signature() string { return c.name + "(pg_catalog.text, pg_catalog.bool)" }

// call returns a statement that executes a command, and its parameters. The statement has no row if the
// function is no longer the one that was made.
func (c *confined) call(command string, answers bool) (sql string, values [][]byte, types []uint32) {
	const text, boolean, oid = 25, 16, 26
	does := "f"
	if answers {
		does = "t"
	}
	return "SELECT " + c.name + "($1, $2) FROM pg_catalog.pg_proc WHERE oid = $3 AND ctid::text = $4",
		[][]byte{[]byte(command), []byte(does), fmt.Append(nil, c.oid), []byte(c.version)}, []uint32{text, boolean, oid, text}
}

// run executes a command of the export.
func (c *confined) run(ctx context.Context, command string) error {
	sql, values, types := c.call(command, false)
	result := c.conn.ExecParams(ctx, sql, values, types, nil, nil).Read()
	if result.Err == nil && len(result.Rows) != 1 {
		return tampered()
	}
	return result.Err
}

// tampered returns the refusal of an export that interferes with the restore itself.
func tampered() error {
	return &RejectedError{Stderr: "code of the export has changed the function that executes its statements"}
}

// pendingSQL selects statements that the server refuses if deferred triggers of a table are pending. They
// lock the table and are rolled back. Only tables to which this session has written can have such
// triggers.
const pendingSQL = `
SELECT DISTINCT pg_catalog.format('ALTER TABLE ONLY %I.%I RESET (fillfactor)', n.nspname, c.relname)
  FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.mode = 'RowExclusiveLock'
   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
   AND c.relkind IN ('r', 'p') AND EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND t.tgdeferrable)`

// leave ends the part of the transaction in which code of the export runs. It drops the function, and
// makes sure that nothing of the export is left that COMMIT would execute with the rights of the login:
// deferred triggers, and cursors that are to outlive the transaction. Then the login is the current role.
func (c *confined) leave(ctx context.Context, conn *pgx.Conn, application, lockWait string) error {
	// The settings come first, and alone: they decide how the statements after them are read.
	if _, err := c.conn.Exec(ctx, "SET client_encoding = 'UTF8'").ReadAll(); err != nil {
		return err
	}
	_, err := c.conn.Exec(ctx, "SET standard_conforming_strings = on; SET statement_timeout = 0; SET client_min_messages = warning; CLOSE ALL; SET application_name = "+literal(application)+"; "+lockWait).ReadAll()
	if err != nil {
		return err
	}
	tables, err := strs(ctx, conn, pendingSQL)
	if err != nil {
		return err
	}
	for _, statement := range tables {
		_, err := c.conn.Exec(ctx, "SAVEPOINT pgcourier_pending; "+statement+"; ROLLBACK TO SAVEPOINT pgcourier_pending; RELEASE SAVEPOINT pgcourier_pending").ReadAll()
		if err != nil {
			return err
		}
	}
	_, err = c.conn.Exec(ctx, "DROP FUNCTION "+c.signature()+"; RESET ROLE").ReadAll()
	return err
}

// executed executes a statement of the export in a placement.
func (pl *placing) executed(ctx context.Context, statement string) error {
	statement = bare(statement)
	if settable(statement) { // outside of the function, because some settings would end with it
		return pl.at.Conn.PgConn().ExecParams(ctx, statement, nil, nil, nil, nil).Read().Err
	}
	if pl.confined == nil { // never: the script begins with settings
		return foreign(statement)
	}
	pl.codes = nil // it may have made a check or a trigger
	return pl.confined.run(ctx, statement)
}

// counting returns a statement that answers one text, as the placement's owner.
func (pl *placing) counting(sql string) (string, [][]byte, []uint32) {
	return pl.confined.call(sql, true)
}

// plainly is counting for a database without a placement.
func plainly(sql string) (string, [][]byte, []uint32) { return sql, nil, nil }

// foreign returns the refusal of a statement that pg_dump does not write.
func foreign(statement string) error {
	return &RejectedError{Stderr: "a statement that pg_dump does not write: " + headline(statement)}
}
