package restore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// IncompleteError says what a restore with Target.KeepGoing left out. All else is in the
// target, which was committed.
type IncompleteError struct {
	// Failures are the statements that the target refused: their beginning, and its words.
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

// fromFolder feeds a script from the scratch folder, where it lies once it was equal to the
// first pass. Without a transaction nothing else may reach the target.
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

// stepwise feeds a script statement by statement. whole is called once, with what went wrong
// so far, before the end of the transaction, if there is one.
func (f *feed) stepwise(ctx context.Context, script io.Reader, whole func(feeding error) error) error {
	s := &steps{
		feed: f, conn: f.at.Conn.PgConn(), casts: slices.Clone(f.export.Manifest.Artifact.Needs.Casts),
		script: archive.NewScript(forTarget(bufio.NewReaderSize(script, 256<<10), f.at)),
	}
	err := s.begin(ctx)
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

// steps is one run of stepwise. Without an end its transaction rolls back with the connection.
type steps struct {
	feed     *feed
	conn     *pgconn.PgConn
	script   *archive.Script
	failures []string
	casts    []export.Cast // that are still to be made
	changed  bool          // something was executed
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
		return fmt.Errorf("%w: it has changed since it was looked at: %w", ErrOccupied, err)
	}
	return s.refused(ctx, err, "make room")
}

// run executes the script. A statement that fails ends it, or is kept and rolled back alone.
func (s *steps) run(ctx context.Context) error {
	savepoint := s.feed.target.KeepGoing && !s.feed.target.NoTransaction
	for {
		statement, copies, err := s.script.Next()
		if err == io.EOF { //nolint:errorlint // a wrapped one is a failure, not an end
			return nil
		}
		if err != nil {
			return err
		}
		if savepoint {
			if _, err := s.conn.Exec(ctx, "SAVEPOINT pgcourier").ReadAll(); err != nil {
				return s.refused(ctx, err, "set a savepoint")
			}
		}
		s.changed = true
		reading := &remembering{r: s.script}
		if copies {
			_, err = s.conn.CopyFrom(ctx, reading, statement)
		} else {
			_, err = s.conn.Exec(ctx, statement).ReadAll()
		}
		switch {
		case reading.err != nil: // of the export, not of the target
			return reading.err
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
		if err == nil && len(s.casts) > 0 && strings.HasPrefix(headline(statement), "CREATE ") {
			if err := s.makeCasts(ctx); err != nil {
				return err
			}
		}
	}
}

// end counts and commits.
func (s *steps) end(ctx context.Context) error {
	for _, statement := range closing(*s.feed.export.Manifest.Artifact) {
		if _, err := s.conn.Exec(ctx, statement).ReadAll(); err != nil {
			return s.refused(ctx, err, "revoke from PUBLIC")
		}
	}
	if !s.feed.target.KeepGoing {
		if err := s.feed.first.countIn(ctx, s.conn); err != nil {
			return err
		}
		return s.commit(ctx)
	}
	differences, err := s.feed.first.differences(ctx, s.feed.at.Conn, s.feed.export.Manifest.Artifact.Schemas)
	if err != nil {
		return s.refused(ctx, err, "count")
	}
	if err := s.commit(ctx); err != nil {
		return err
	}
	if len(s.failures)+len(differences) > 0 {
		return &IncompleteError{Failures: s.failures, Differences: differences, Missing: s.feed.at.missing}
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

// refused says what an error of the target means.
func (s *steps) refused(ctx context.Context, err error, doing string) error {
	state := sqlState(err)
	switch {
	case err == nil:
		return nil
	case state == outOfMemory:
		_, _ = s.conn.Exec(ctx, "ROLLBACK").ReadAll() // lets go of the locks, for the question
		return s.feed.at.outOfLocks(ctx, s.feed.first, err)
	case state == "" || transient(state):
		return fmt.Errorf("%w: %s: %w", ErrTarget, doing, err)
	}
	return &RejectedError{SQLState: state, Stderr: doing + ": " + err.Error()}
}

// ofTarget says whether an error says nothing of the export's bytes.
func ofTarget(err error) bool {
	_, rejected := errors.AsType[*RejectedError](err)
	return rejected || errors.Is(err, ErrTarget) || errors.Is(err, ErrOccupied) || errors.Is(err, ErrLocks)
}

// headline is the beginning of a statement, for a message.
func headline(statement string) string {
	const most = 120
	var words []string
	for line := range strings.Lines(statement) {
		if !strings.HasPrefix(line, "--") {
			words = append(words, strings.Fields(line)...)
		}
	}
	text := []rune(oneLine(strings.Join(words, " ")))
	if len(text) > most {
		return string(text[:most]) + "..."
	}
	return string(text)
}

// remembering keeps the first error that is no end.
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

// differences lists tables that hold other rows than the export. Partitions by hash are
// compared over their root, because rows may lie in others of them than in the source.
func (e Evidence) differences(ctx context.Context, conn *pgx.Conn, schemas []string) ([]string, error) {
	roots, err := hashRoots(ctx, conn, schemas)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "SET row_security = off"); err != nil {
		return nil, err
	}
	var out []string
	moved := map[string]int64{}
	for _, t := range slices.SortedFunc(maps.Keys(e.Contents.Tables), compareTables) {
		var there, member bool
		err := conn.QueryRow(ctx, `
SELECT c.oid IS NOT NULL AND NOT row_security_active(c.oid) AND has_table_privilege(c.oid, 'SELECT'),
       EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  FROM (SELECT to_regclass($1)::oid AS oid) c`, identifier(t)).Scan(&there, &member)
		if err != nil {
			return nil, err
		}
		want := e.Contents.Tables[t]
		if !there {
			out = append(out, fmt.Sprintf("table %s is missing or cannot be read, the export has %d rows of it", t, want))
			continue
		}
		n, err := countRows(ctx, conn, t)
		if err != nil {
			return nil, err
		}
		switch root, hashed := roots[t]; {
		case hashed:
			moved[root] += n - want
		case n < want, n > want && !member:
			out = append(out, fmt.Sprintf("table %s holds %d rows, the export %d", t, n, want))
		}
	}
	for _, root := range slices.Sorted(maps.Keys(moved)) {
		if moved[root] != 0 {
			out = append(out, fmt.Sprintf("%s and its partitions hold %+d rows against the export", root, moved[root]))
		}
	}
	return out, nil
}

// countRows counts a table, by a COPY where a count cannot be planned: the planner inlines the
// functions of expression statistics, which may need another search_path. A transaction survives
// the failure.
func countRows(ctx context.Context, conn *pgx.Conn, t export.Table) (n int64, err error) {
	begin, end, undo := "", "", ""
	if conn.PgConn().TxStatus() == 'T' {
		begin, end, undo = "SAVEPOINT count", "RELEASE SAVEPOINT count", "ROLLBACK TO SAVEPOINT count"
	}
	if _, err := conn.Exec(ctx, begin); err != nil {
		return 0, err
	}
	if err = conn.QueryRow(ctx, "SELECT pg_catalog.count(*) FROM ONLY "+identifier(t)).Scan(&n); err == nil {
		_, err = conn.Exec(ctx, end)
		return n, err
	}
	if _, err := conn.Exec(ctx, undo); err != nil {
		return 0, err
	}
	tag, err := conn.PgConn().CopyTo(ctx, io.Discard, "COPY "+identifier(t)+" TO STDOUT")
	return tag.RowsAffected(), err
}

// hashRoots names, for each partition below a table that is partitioned by hash, its root.
func hashRoots(ctx context.Context, conn *pgx.Conn, schemas []string) (map[export.Table]string, error) {
	rows, err := conn.Query(ctx, `
WITH RECURSIVE up (leaf, oid, depth) AS (
  SELECT c.oid, c.oid, 0 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = ANY ($1::text[]::name[]) AND c.relispartition AND c.relkind IN ('r', 'p')
  UNION ALL
  SELECT leaf, i.inhparent, depth + 1 FROM up JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.oid
)
SELECT n.nspname::text, c.relname::text, (array_agg(p.partrelid::regclass::text ORDER BY up.depth DESC))[1]
  FROM up JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = up.oid
  JOIN pg_catalog.pg_class c ON c.oid = up.leaf JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 GROUP BY 1, 2 HAVING bool_or(p.partstrat = 'h')`, pgx.QueryExecModeExec, schemas)
	if err != nil {
		return nil, err
	}
	out := map[export.Table]string{}
	var t export.Table
	var root string
	_, err = pgx.ForEachRow(rows, []any{&t.Schema, &t.Name, &root}, func() error {
		out[t] = root
		return nil
	})
	return out, err
}
