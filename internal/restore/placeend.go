package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
)

// end checks what was restored, and commits it with the marker.
func (pl *placing) end(ctx context.Context, s *steps) error {
	if pl.moved != nil {
		if err := pl.moved.feedSection(ctx, s, postData); err != nil {
			return err
		}
	}
	contents := s.feed.first.Contents
	if sel := pl.selection; sel != nil {
		contents.Tables = maps.Clone(contents.Tables)
		maps.DeleteFunc(contents.Tables, func(t export.Table, _ int64) bool { return !sel.tables[t] })
		pl.leftOut = append(pl.leftOut, sel.leftOut...)
		for _, t := range sel.used() {
			pl.lookForUsed(ctx, t, sel.uses[t])
		}
	}
	pl.tables, pl.rows = sortedTables(contents), contents.Rows()
	if len(pl.leftOut) > 0 && !pl.placement.LeaveOut && !pl.dry {
		return &LeftOutError{Objects: pl.leftOut}
	}
	if pl.dry {
		return nil
	}
	evidence := s.feed.first
	evidence.Contents = contents
	return pl.finish(ctx, s, evidence)
}

// lookForUsed adds an object that the chosen tables use and the target lacks to the missing ones.
func (pl *placing) lookForUsed(ctx context.Context, t export.Table, kind string) {
	var there bool
	err := pl.at.Conn.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL OR to_regtype($1) IS NOT NULL OR EXISTS (
		SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $2 AND p.proname = $3)`,
		identifier(t), t.Schema, t.Name).Scan(&there)
	if err == nil && !there {
		pl.at.missing = append(pl.at.missing, strings.ToLower(kind)+" "+identifier(t))
	}
}

func (pl *placing) finish(ctx context.Context, s *steps, evidence Evidence) error {
	conn := pl.at.Conn
	if conn.PgConn().TxStatus() != 'T' {
		return unverified("the export has ended the transaction")
	}
	if err := pl.confined.run(ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
		return s.refused(ctx, err, "check the deferred constraints")
	}
	if _, err := conn.Exec(ctx, "SET standard_conforming_strings = on"); err != nil {
		return s.refused(ctx, err, "set how strings are read")
	}
	found, left, err := readContents(ctx, conn, pl.at.Major(), pl.tables, pl.counting)
	if err != nil {
		return s.refused(ctx, err, "count")
	}
	if !evidence.counted(found) { // a table that may differ, or one that must be counted in another way
		if err := evidence.countIn(ctx, pl.confined.run); err != nil {
			return err
		}
	}
	if differences := sameContents(pl.want, found); len(differences) > 0 {
		return unverified("after the rename: %s", strings.Join(differences, ", "))
	}
	pl.remarks = append(pl.remarks, left...)
	if err := pl.referElsewhere(ctx, s); err != nil {
		return err
	}
	if err := pl.confined.leave(ctx, conn, pl.placement.application(), pl.restorer.lockWait()); err != nil {
		return s.refused(ctx, err, "look for what the export leaves to be executed by COMMIT")
	}
	out := Placed{
		ID: pl.placement.ID, ServerVersion: pl.at.Version(), Schemas: pl.schemas, Tables: found, LeftOut: pl.leftOut, StillNames: pl.still,
	}
	if err := pl.seal(ctx, conn, &out); err != nil {
		if state := sqlState(err); state == uniqueViolation {
			return fmt.Errorf("%w: another attempt has written the marker: %w", ErrRefused, err)
		}
		return ofTargetError(err, "finish the restore")
	}
	return pl.commit(ctx, out)
}

const uniqueViolation = "23505"

// seal does what belongs to the transaction and is no part of the export: grants, the lock on what was
// moved aside, and the marker.
func (pl *placing) seal(ctx context.Context, conn *pgx.Conn, out *Placed) error {
	for _, s := range pl.lent {
		if _, err := conn.Exec(ctx, fmt.Sprintf("REVOKE CREATE ON SCHEMA %s FROM %s", quoted(s), quoted(pl.placement.Owner))); err != nil {
			return err
		}
	}
	for _, o := range pl.olds {
		remarks, err := o.repeatGrants(ctx, conn)
		if err != nil {
			return err
		}
		pl.remarks = append(pl.remarks, remarks...)
	}
	// Until here other sessions can use the old objects.
	if err := guard(ctx, conn, pl.olds, true); err != nil {
		return err
	}
	if err := conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&out.PlacedAt); err != nil {
		return err
	}
	for _, o := range pl.olds {
		out.Kept, out.KeptUntil = append(out.Kept, o.kept), out.PlacedAt.Add(pl.placement.Keep)
		if _, err := conn.Exec(ctx, "INSERT INTO pgcourier_restore.kept (schema, name, id, until) VALUES ($1, $2, $3, $4)",
			o.keptID, o.kept, pl.placement.ID, out.KeptUntil); err != nil {
			return err
		}
	}
	// An acknowledged COMMIT must survive a crash of the target.
	if _, err := conn.Exec(ctx, "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"); err != nil {
		return err
	}
	out.Remarks = pl.remarks
	text, err := json.Marshal(out)
	if err != nil {
		return err
	}
	tag, err := conn.Exec(ctx, "INSERT INTO pgcourier_restore.markers (id, state, placed) VALUES ($1, '"+markPlaced+"', $2)", pl.placement.ID, string(text))
	if err == nil && tag.RowsAffected() != 1 {
		return errors.New("the marker was not written: something in the target intercepts it")
	}
	return err
}

// commitWait bounds the search for the result of a COMMIT after the connection was lost.
const commitWait = time.Minute

// commit commits. If the connection is lost meanwhile, the marker tells what became of it.
func (pl *placing) commit(ctx context.Context, out Placed) error {
	tag, err := pl.at.Conn.Exec(ctx, "COMMIT")
	switch {
	case err == nil && tag.String() == "COMMIT":
		pl.placed, pl.committed = &out, true
		return nil
	case err == nil: // ROLLBACK: the transaction had failed
		return fmt.Errorf("%w: COMMIT was answered with %s", ErrTarget, tag.String())
	case sqlState(err) != "" && !pl.at.Conn.IsClosed():
		return ofTargetError(err, "COMMIT")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitWait)
	defer cancel()
	placed, committed, asking := pl.settled(ctx)
	switch {
	case asking != nil:
		return fmt.Errorf("%w: %w: %w", ErrUnknown, err, asking)
	case committed:
		pl.placed, pl.committed = &placed, true
		return nil
	}
	return fmt.Errorf("%w: the connection was lost before COMMIT: %w", ErrTarget, err)
}

// settled waits for the end of this attempt's session and reports whether an attempt has committed. It
// does not end a later attempt, which may run by now.
func (pl *placing) settled(ctx context.Context) (p Placed, committed bool, err error) {
	ses, err := open(ctx, pl.placement.Source)
	if err != nil {
		return p, false, err
	}
	defer ses.Close()
	err = pl.restorer.within(ctx, ses.Conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND application_name = $2 AND usename = session_user",
			pl.backend, pl.placement.application()); err != nil {
			return err
		}
		if err := takeLock(ctx, tx.Conn(), pl.attempt, "the session of this attempt does not end"); err != nil {
			return err
		}
		p, committed, err = readMarker(ctx, tx.Conn(), pl.placement.ID)
		if errors.Is(err, ErrRefused) {
			return nil
		}
		return err
	})
	return p, committed, err
}
