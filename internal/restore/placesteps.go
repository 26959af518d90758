package restore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// begin opens the transaction, takes the locks, and makes the schemas ready. From then on the
// statements of the export run as the owner.
func (pl *placing) begin(ctx context.Context) error {
	if pl.dry {
		return nil
	}
	return ofTargetError(pl.beginIn(ctx, pl.at.Conn), "prepare the target")
}

func (pl *placing) beginIn(ctx context.Context, conn *pgx.Conn) error {
	r, p := pl.restorer, pl.placement
	// Each statement must see what has committed before it.
	begin := settings + "BEGIN ISOLATION LEVEL READ COMMITTED; " + r.lockWait() + "; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL search_path = " + trustedPath
	if pgversion.Has(pl.at.Major(), pgversion.TransactionTimeout) {
		begin = setTimeout + " " + begin
	}
	if _, err := conn.PgConn().Exec(ctx, begin).ReadAll(); err != nil {
		return err
	}
	if err := settleID(ctx, conn, p.ID); err != nil {
		return err
	}
	pl.attempt = lockKey("attempt", rand.Text())
	if err := takeLock(ctx, conn, pl.attempt, "its key is taken"); err != nil { // never: the key is random
		return err
	}
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pl.backend); err != nil {
		return err
	}
	if err := trustMarkers(ctx, conn, p.Owner, true); err != nil {
		return err
	}
	placed, committed, err := readMarker(ctx, conn, p.ID)
	if committed {
		pl.placed = &placed
		return errPlaced
	}
	if err != nil {
		return err
	}
	for _, s := range slices.Sorted(slices.Values(pl.schemas)) {
		if err := takeLock(ctx, conn, lockKey("schema", s), "another restore into schema "+quoted(s)+" runs"); err != nil {
			return err
		}
	}
	if len(p.Tables) > 0 {
		return nil // the tables are known after the definitions
	}
	pl.olds = nil
	if err := pl.findOld(ctx, nil); err != nil {
		return err
	}
	return pl.makeReady(ctx, conn)
}

// errPlaced ends a placement that an earlier attempt has committed.
var errPlaced = errors.New("the restore has committed before")

// makeReady moves the old objects aside and creates the schemas.
func (pl *placing) makeReady(ctx context.Context, conn *pgx.Conn) error {
	p := &pl.placement
	if err := guard(ctx, conn, pl.olds, false); err != nil {
		return err
	}
	if p.Owner == "" && len(pl.olds) > 0 {
		owner, err := pl.olds[0].owner(ctx, conn)
		if err != nil {
			return err
		}
		p.Owner = owner
		if err := trustMarkers(ctx, conn, p.Owner, false); err != nil {
			return err
		}
	}
	var now time.Time
	if err := conn.QueryRow(ctx, "SELECT now()").Scan(&now); err != nil {
		return err
	}
	for i := range pl.olds {
		o := &pl.olds[i]
		o.kept = p.keptName(o.schema, now)
		if err := o.moveAside(ctx, conn); err != nil {
			return err
		}
	}
	for _, s := range pl.schemas {
		var there bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", s).Scan(&there); err != nil {
			return err
		}
		statement := ""
		switch {
		case !there && p.Owner != "":
			statement = fmt.Sprintf("CREATE SCHEMA %s AUTHORIZATION %s", quoted(s), quoted(p.Owner))
		case !there:
			statement = "CREATE SCHEMA " + quoted(s)
		case p.Owner != "" && len(p.Tables) == 0:
			statement = fmt.Sprintf("GRANT USAGE, CREATE ON SCHEMA %s TO %s", quoted(s), quoted(p.Owner))
		case p.Owner != "":
			if err := pl.lend(ctx, conn, s); err != nil {
				return err
			}
		}
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
		if !slices.Contains(pl.at.kept, s) {
			pl.at.kept = append(pl.at.kept, s)
		}
	}
	var statements []string
	for _, o := range pl.olds {
		for _, e := range o.extensions {
			statements = append(statements, fmt.Sprintf("ALTER EXTENSION %s SET SCHEMA %s", quoted(e), quoted(o.schema)))
		}
	}
	statements = append(statements, pl.at.prelude...)
	if p.Owner != "" {
		statements = append(statements, "SET LOCAL ROLE "+quoted(p.Owner))
	}
	for _, statement := range statements {
		if _, err := conn.PgConn().Exec(ctx, statement).ReadAll(); err != nil {
			return fmt.Errorf("%s: %w", oneLine(statement), err)
		}
	}
	var err error
	if pl.confined, err = confine(ctx, conn, pl.schemas[0]); err != nil {
		return err
	}
	return conn.QueryRow(ctx, "SELECT session_user <> current_user").Scan(&pl.apart)
}

// lend gives the owner of single tables the right to use an existing schema, and for the time of the
// transaction the right to create them there.
func (pl *placing) lend(ctx context.Context, conn *pgx.Conn, schema string) error {
	owner := pl.placement.Owner
	var uses, creates bool
	err := conn.QueryRow(ctx, "SELECT has_schema_privilege($1, $2, 'USAGE'), has_schema_privilege($1, $2, 'CREATE')", owner, schema).Scan(&uses, &creates)
	if err == nil && !uses {
		_, err = conn.Exec(ctx, fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s", quoted(schema), quoted(owner)))
	}
	if err == nil && !creates {
		_, err = conn.Exec(ctx, fmt.Sprintf("GRANT CREATE ON SCHEMA %s TO %s", quoted(schema), quoted(owner)))
		pl.lent = append(pl.lent, schema)
	}
	return err
}
