package restore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// IncompleteError lists what a restore with Target.KeepGoing left out. All else is committed in the
// target.
type IncompleteError struct {
	// Failures are the statements that the target refused: their beginning, and the error.
	Failures []string
	// Differences are tables that hold other rows than the export, or are missing.
	Differences []string
	Missing     []string // what the export needs and the target lacks
}

func (e *IncompleteError) Error() string {
	lines := []string{fmt.Sprintf("restored but for %d statements and %d tables", len(e.Failures), len(e.Differences))}
	text := strings.Join(slices.Concat(lines, e.Failures, e.Differences), "\n")
	if len(e.Missing) > 0 {
		text += "\nThe export needs what the target lacks: " + strings.Join(e.Missing, "; ")
	}
	return text
}

// fromFolder feeds a script from the scratch folder, after it was compared with the first pass.
// Without a transaction, no unchecked byte may reach the target.
func (f *feed) fromFolder(ctx context.Context, p *pass) (err error) {
	from, err := f.unpack(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	script, err := os.Open(from.path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrScratch, err)
	}
	defer func() { _ = script.Close() }()
	return f.stepwise(ctx, script, func(feeding error) error { return feeding })
}

// stepwise feeds a script statement by statement. It calls whole once, with the error so far, before
// the end of the transaction, if there is one.
func (f *feed) stepwise(ctx context.Context, script io.Reader, whole func(feeding error) error) error {
	s := &steps{
		feed: f, conn: f.at.Conn.PgConn(), casts: slices.Clone(f.export.Manifest.Artifact.Needs.Casts),
		script: archive.NewScript(forTarget(bufio.NewReaderSize(script, 256<<10), f.at)),
	}
	var err error
	if pl := f.target.placing; pl != nil {
		err = pl.begin(ctx)
		if err == nil && pl.moved != nil {
			err = pl.moved.feedSection(ctx, s, preData)
		}
	} else {
		err = s.begin(ctx)
	}
	if err == nil {
		err = s.run(ctx)
	}
	switch {
	case ofTarget(err):
		err = errors.Join(err, ignoreSink(whole(errSink)))
	default:
		if err = whole(err); err == nil {
			err = s.end(ctx)
		}
	}
	if err != nil && f.target.NoTransaction && s.changed {
		err = fmt.Errorf("%w: %w", ErrPartial, err)
	}
	return err
}

// steps is one run of stepwise. If end is not reached, the transaction rolls back with the
// connection.
type steps struct {
	feed     *feed
	conn     *pgconn.PgConn
	script   *archive.Script
	failures []string
	casts    []export.Cast // to be created
	// attachments are statements of the script that come after all others.
	attachments []string
	changed     bool // something was executed
}

func (s *steps) begin(ctx context.Context) error {
	at := s.feed.at
	begin := settings + "BEGIN; SET LOCAL search_path = pg_catalog;"
	if s.feed.target.NoTransaction {
		begin = settings + "SET search_path = pg_catalog;"
	}
	_, err := s.conn.Exec(ctx, begin).ReadAll()
	for _, statement := range at.prelude {
		if err == nil {
			_, err = s.conn.Exec(ctx, statement).ReadAll()
		}
	}
	if sqlState(err) == inTheWay {
		return fmt.Errorf("%w: it has changed since it was checked: %w", ErrOccupied, err)
	}
	return s.refused(ctx, err, "clear the schemas")
}

// run executes the script.
func (s *steps) run(ctx context.Context) error {
	for {
		statement, copies, err := s.script.Next()
		switch {
		case err == io.EOF: //nolint:errorlint // a wrapped one is a failure, not an end
			return nil
		case err != nil:
			return err
		case s.feed.target.placing != nil && s.feed.target.placing.moved != nil:
			if err := s.placeRows(ctx, statement, copies); err != nil {
				return err
			}
			continue
		case s.feed.target.placing == nil && !copies && s.attachesElsewhere(statement):
			s.attachments = append(s.attachments, statement)
			continue
		case copies && s.feed.target.shape:
			continue
		}
		if err := s.place(ctx, statement, copies); err != nil {
			return err
		}
	}
}

// place executes a statement, or what a placement makes of it.
func (s *steps) place(ctx context.Context, statement string, copies bool) error {
	pl := s.feed.target.placing
	if pl == nil {
		return s.execute(ctx, statement, copies)
	}
	now, err := pl.next(ctx, statement, copies)
	if err != nil || pl.dry {
		return err
	}
	for i, one := range now {
		rows := copies && i == len(now)-1 && one == statement
		if !rows && s.attachesElsewhere(one) {
			s.attachments = append(s.attachments, one)
			continue
		}
		if !rows && pl.refersElsewhere(one) {
			pl.late = append(pl.late, one)
			continue
		}
		if err := s.execute(ctx, one, rows); err != nil {
			return err
		}
	}
	return nil
}

// execute runs one statement of the script. A refusal of the target is an error, or, with KeepGoing,
// is recorded and only this statement is rolled back.
func (s *steps) execute(ctx context.Context, statement string, copies bool) (err error) {
	savepoint := s.feed.target.KeepGoing && !s.feed.target.NoTransaction
	if savepoint {
		if _, err := s.conn.Exec(ctx, "SAVEPOINT pgcourier").ReadAll(); err != nil {
			return s.refused(ctx, err, "set a savepoint")
		}
	}
	s.changed = true
	reading := &remembering{r: s.script}
	switch pl := s.feed.target.placing; {
	case pl != nil && copies:
		err = pl.copyRows(ctx, statement, reading)
	case copies:
		_, err = s.conn.CopyFrom(ctx, reading, statement)
	case pl != nil:
		err = pl.executed(ctx, statement)
	default:
		_, err = s.conn.Exec(ctx, statement).ReadAll()
	}
	switch {
	case reading.err != nil: // of the export, not of the target
		return reading.err
	case err != nil && s.feed.target.trial != nil && ctx.Err() == nil && !s.conn.IsClosed() && s.settle(ctx, statement, copies, err):
		err = nil
	case err != nil && (!s.feed.target.KeepGoing || transient(sqlState(err)) || ctx.Err() != nil || s.conn.IsClosed()):
		return s.refused(ctx, err, headline(statement))
	case err != nil:
		s.failures = append(s.failures, headline(statement)+": "+oneLine(err.Error()))
	}
	if savepoint {
		after := "RELEASE SAVEPOINT pgcourier"
		if err != nil {
			after = "ROLLBACK TO SAVEPOINT pgcourier; " + after
		}
		if _, err := s.conn.Exec(ctx, after).ReadAll(); err != nil {
			return s.refused(ctx, err, "leave a savepoint")
		}
	}
	if err == nil && len(s.casts) > 0 && strings.HasPrefix(bare(statement), "CREATE ") {
		return s.makeCasts(ctx)
	}
	return nil
}

// end counts the tables and commits.
func (s *steps) end(ctx context.Context) error {
	if err := s.attach(ctx); err != nil {
		return err
	}
	if pl := s.feed.target.placing; pl != nil && len(pl.placement.Tables) > 0 { // no routines and types
		return pl.end(ctx, s)
	}
	for _, statement := range closing(*s.feed.export.Manifest.Artifact) {
		if _, err := s.conn.Exec(ctx, statement).ReadAll(); err != nil {
			return s.refused(ctx, err, "revoke from PUBLIC")
		}
	}
	if pl := s.feed.target.placing; pl != nil {
		return pl.end(ctx, s)
	}
	if s.feed.target.shape {
		return s.commit(ctx)
	}
	if !s.feed.target.KeepGoing && s.feed.target.trial == nil {
		if err := s.feed.first.countIn(ctx, directly(s.conn)); err != nil {
			return err
		}
		return s.commit(ctx)
	}
	if s.feed.target.trial != nil {
		if _, err := unforce(ctx, s.feed.at.Conn, s.feed.export.Manifest.Artifact.Schemas); err != nil {
			return err
		}
	}
	differences, err := s.feed.first.differences(ctx, s.feed.at.Conn, s.feed.export.Manifest.Artifact.Schemas)
	if err != nil {
		return s.refused(ctx, err, "count")
	}
	if t := s.feed.target.trial; t != nil {
		if faults := t.settleTables(differences); len(faults) > 0 {
			return unverified("after the restore: %s", strings.Join(faults, ", "))
		}
		return nil
	}
	if err := s.commit(ctx); err != nil {
		return err
	}
	if len(s.failures)+len(differences) > 0 {
		out := &IncompleteError{Failures: s.failures, Missing: s.feed.at.missing}
		for _, d := range differences {
			out.Differences = append(out.Differences, d.text)
		}
		return out
	}
	return nil
}

func (s *steps) commit(ctx context.Context) error {
	if s.feed.target.NoTransaction {
		return nil
	}
	_, err := s.conn.Exec(ctx, "COMMIT").ReadAll()
	return s.refused(ctx, err, "COMMIT")
}

// remembering keeps the first error that is not io.EOF.
type remembering struct {
	r   io.Reader
	err error
}

func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}
