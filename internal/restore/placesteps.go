package restore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
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
	begin := settings + "BEGIN ISOLATION LEVEL READ COMMITTED; " + r.lockWait() + "; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL search_path = pg_catalog"
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
	return nil
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

// dataKinds are the kinds of entries that follow all definitions of tables, sequences and types.
var dataKinds = []string{
	"TABLE DATA", "SEQUENCE SET", "INDEX", "INDEX ATTACH", "CONSTRAINT", "FK CONSTRAINT", "TRIGGER", "STATISTICS", "POLICY", "ROW SECURITY", "RULE",
}

// next takes the next statement of the script, and returns those to execute now: none, or the ones
// before it and itself. The rows of a COPY can be read after it is returned.
func (pl *placing) next(ctx context.Context, statement string, copies bool) ([]string, error) {
	if err := written(statement); err != nil {
		return nil, err
	}
	if h, ok := archive.HeadingOf(statement); ok {
		pl.current.Heading = h
	}
	head := bare(statement)
	switch {
	case strings.HasPrefix(head, "SET lock_timeout "), // that of the restore stays
		strings.HasPrefix(head, "CREATE SCHEMA "): // made before, for the owner
		return nil, nil
	case strings.HasPrefix(head, "SET "), strings.HasPrefix(head, "SELECT pg_catalog.set_config("):
		return []string{statement}, nil
	case pl.elsewhere(head):
		return nil, nil
	}
	if len(pl.placement.Tables) == 0 {
		pl.names(statement, copies)
		return []string{statement}, nil
	}
	e := newEntry(pl.current.Heading, statement)
	if pl.selection != nil {
		return pl.select1(e, copies)
	}
	if !copies && !slices.Contains(dataKinds, e.Kind) {
		pl.pending = append(pl.pending, e)
		return nil, nil
	}
	out, err := pl.resolve(ctx)
	if err != nil {
		return nil, err
	}
	last, err := pl.select1(e, copies)
	return append(out, last...), err
}

// elsewhere reports whether a statement belongs to a schema of the export that was not chosen, or to a
// schema itself while tables are chosen.
func (pl *placing) elsewhere(head string) bool {
	if pl.current.Schema != "" {
		// A heading has the name on one line.
		return len(pl.placement.Schemas) > 0 && pl.formerly == "" && !slices.ContainsFunc(pl.schemas, func(name string) bool {
			return strings.NewReplacer("\n", " ", "\r", " ").Replace(name) == pl.current.Schema
		})
	}
	if len(pl.placement.Tables) > 0 {
		return true
	}
	rest := archive.After(archive.Tokens(head), "SCHEMA")
	return len(pl.placement.Schemas) > 0 && (len(rest) == 0 || !slices.Contains(pl.schemas, rest[0].Text))
}

// select1 returns the statement if it belongs to the chosen tables.
func (pl *placing) select1(e entry, copies bool) ([]string, error) {
	take, err := pl.selection.takes(e)
	if err != nil || !take {
		return nil, err
	}
	pl.names(e.statement, copies)
	return []string{e.statement}, nil
}

// resolve finds the chosen tables among the definitions, makes the target ready for them, and returns
// the definitions that belong to them.
func (pl *placing) resolve(ctx context.Context) (out []string, err error) {
	names := pl.placement.Tables
	if pl.formerly != "" { // the script has the schema's new name
		names = slices.Clone(names)
		for i, n := range names {
			if rest, ok := strings.CutPrefix(n, pl.formerly+"."); ok {
				names[i] = pl.placement.Schema + "." + rest
			}
		}
	}
	if pl.selection, err = newSelection(names, pl.pending); err != nil {
		return nil, err
	}
	conn := pl.at.Conn
	pl.selection.exists = func(t export.Table) (there bool, err error) {
		err = conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", identifier(t)).Scan(&there)
		return there, ofTargetError(err, "look for a table")
	}
	chosen := slices.SortedFunc(maps.Keys(pl.selection.tables), compareTables)
	pl.schemas = slices.DeleteFunc(slices.Clone(pl.schemas), func(s string) bool {
		return !slices.ContainsFunc(chosen, func(t export.Table) bool { return t.Schema == s })
	})
	if err := ofTargetError(pl.findOld(ctx, chosen), "look for the tables"); err != nil {
		return nil, err
	}
	if !pl.dry {
		if err := ofTargetError(pl.makeReady(ctx, conn), "prepare the target"); err != nil {
			return nil, err
		}
	}
	pending := pl.pending
	pl.pending = nil
	for _, e := range pending {
		taken, err := pl.select1(e, false)
		if err != nil {
			return nil, err
		}
		out = append(out, taken...)
	}
	return out, nil
}

// words are the first words of the statements that pg_dump writes for schemas.
var words = []string{"SET", "SELECT", "CREATE", "ALTER", "COPY", "COMMENT", "REFRESH", "GRANT", "REVOKE", "SECURITY"}

var (
	firstWord = regexp.MustCompile(`^[A-Za-z]+`)
	// asOther matches statements that would leave the owner's role or the transaction's settings.
	asOther = regexp.MustCompile(`(?i)^SET\s+(?:ROLE|SESSION|LOCAL|TRANSACTION|CONSTRAINTS)\b`)
)

// written returns an error for a statement that pg_dump does not write: one that ends the transaction,
// changes the role, or calls a function other than pg_catalog's.
func written(statement string) error {
	head := bare(statement)
	word := firstWord.FindString(head)
	switch {
	case !slices.Contains(words, word), asOther.MatchString(head),
		// pg_dump 18 can write statistics with SELECT * FROM pg_catalog.pg_restore_relation_stats.
		word == "SELECT" && !strings.HasPrefix(head, "SELECT pg_catalog.") && !strings.HasPrefix(head, "SELECT * FROM pg_catalog.pg_restore_"):
		return unverified("a statement that pg_dump does not write: %s", headline(statement))
	}
	return nil
}

// names records a statement that still has the schema's former name in it.
func (pl *placing) names(statement string, copies bool) {
	if pl.formerly == "" || copies {
		return
	}
	text := bare(statement)
	for i := 0; ; {
		j := strings.Index(text[i:], pl.formerly)
		if j < 0 {
			return
		}
		before, after := i+j, i+j+len(pl.formerly)
		if (before == 0 || !nameByte(text[before-1])) && (after == len(text) || !nameByte(text[after])) {
			pl.still = append(pl.still, headline(statement))
			return
		}
		i = after
	}
}

func nameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// refersElsewhere reports whether a statement makes a foreign key to a table that is not restored, or
// may be a comment on such a one.
func (pl *placing) refersElsewhere(statement string) bool {
	if pl.current.Kind == "COMMENT" && strings.HasPrefix(pl.current.Name, "CONSTRAINT ") {
		return len(pl.late) > 0
	}
	if pl.current.Kind != "FK CONSTRAINT" {
		return false
	}
	_, rest, ok := newEntry(pl.current.Heading, statement).altered()
	if !ok {
		return false
	}
	schema, name, _, ok := archive.Qualified(archive.After(rest, "REFERENCES"))
	if pl.selection != nil {
		return ok && !pl.selection.tables[export.Table{Schema: schema, Name: name}]
	}
	return ok && !slices.Contains(pl.schemas, schema)
}

// referElsewhere makes the late foreign keys, as the login: the tables that they reference can belong to
// others, who have given rights on them to it and not to the owner.
func (pl *placing) referElsewhere(ctx context.Context, s *steps) error {
	for _, statement := range pl.late {
		if err := s.execute(ctx, statement, false); err != nil {
			return err
		}
	}
	return nil
}

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
	_, err := conn.PgConn().Exec(ctx, "RESET ROLE; SET CONSTRAINTS ALL IMMEDIATE; SET standard_conforming_strings = on; "+pl.restorer.lockWait()).ReadAll()
	if err != nil {
		return s.refused(ctx, err, "check the deferred constraints")
	}
	found, left, err := readContents(ctx, conn, pl.at.Major(), pl.tables)
	if err != nil {
		return s.refused(ctx, err, "count")
	}
	if !evidence.counted(found) { // a table that may differ, or one that must be counted in another way
		if err := evidence.countIn(ctx, conn.PgConn()); err != nil {
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
	_, err = conn.Exec(ctx, "INSERT INTO pgcourier_restore.markers (id, state, placed) VALUES ($1, '"+markPlaced+"', $2)", pl.placement.ID, string(text))
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
