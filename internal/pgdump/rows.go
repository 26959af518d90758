package pgdump

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
)

// counts holds the row counts of all tables in the snapshot, taken beside the dump.
type counts struct {
	done chan struct{}
	rows map[export.Table]int64 // once done, unless err is set
	err  error
}

// count starts the counts on the session of the snapshot. Until done is closed, nothing else may use
// the session. turn delays the counts of tables; nil: no delay. Tables that the session has not locked
// are counted after pg_dump has locked them, when locked is closed. pg_dump may end before the
// counts do: a table that has changed by then is a fault, because the change may have come before its
// rows were counted.
func (s *session) count(ctx context.Context, v *survey, turn *trail, locked <-chan struct{}) *counts {
	c := &counts{done: make(chan struct{}), rows: map[export.Table]int64{}}
	tables := v.counted()
	if turn != nil {
		slices.SortStableFunc(tables, func(a, b relation) int { return cmp.Compare(b.pages, a.pages) })
	}
	go func() {
		defer close(c.done)
		if v.followed {
			select {
			case <-locked:
				c.err = s.unchanged(ctx, v.relations)
			case <-ctx.Done():
				c.err = ended(context.Cause(ctx))
			}
			if c.err != nil {
				return
			}
			defer func() {
				if c.err == nil {
					c.err = s.unchanged(ctx, v.relations)
				}
			}()
		}
		for len(tables) > 0 {
			n := min(len(tables), lockChunk)
			if turn != nil {
				n = turn.wait(ctx, n)
			}
			if err := s.countSome(ctx, tables[:n], c.rows); err != nil {
				c.err = fail(ctx, fmt.Errorf("count rows: %w", err))
				return
			}
			tables = tables[n:]
		}
	}()
	return c
}

// trail delays the counts of a format-directory dump by as many tables as pg_dump dumps at the same
// time. Both go from the largest table to the smallest. The pages of a counted table are then still in
// memory, and the last tables are counted when connections are idle and the last files go to the
// storage. Counts ahead of the dump would take cores from it.
type trail struct {
	exited <-chan struct{} // closed once pg_dump has ended
	dumped <-chan struct{} // a value for each finished file; its buffer holds all of them
	behind int
}

// wait returns how many tables may be counted next, up to most. After the end of pg_dump it returns
// most, also after a failure, because the cause may be in a table.
func (t *trail) wait(ctx context.Context, most int) int {
	for {
		select {
		case <-ctx.Done():
			return most // the query says so
		case <-t.exited:
			return most
		case <-t.dumped:
		}
		if t.behind > 0 {
			t.behind--
			continue
		}
		n := 1
		for ; n < most && len(t.dumped) > 0; n++ {
			<-t.dumped
		}
		return n
	}
}

// countSome counts the rows of some tables: with one query for all, on failure with one query for each
// table, and on failure of that with a COPY.
func (s *session) countSome(ctx context.Context, tables []relation, into map[export.Table]int64) error {
	err := s.countPlanned(ctx, tables, into)
	if err == nil || !s.uncounted(err) {
		return err
	}
	for _, t := range tables {
		if len(tables) > 1 {
			if err = s.countPlanned(ctx, []relation{t}, into); err == nil {
				continue
			}
		}
		// pg_dump plans the query of a table with a condition too.
		if !s.uncounted(err) || t.condition != nil {
			return err
		}
		if err = s.countCopied(ctx, t, into); err != nil {
			return err
		}
	}
	return nil
}

// uncounted reports whether err is about the query and not about the table or the server: the query
// needed something that pg_dump's COPY does not need.
func (s *session) uncounted(err error) bool {
	state := sqlState(err)
	damaged := strings.HasPrefix(state, "XX") || strings.HasPrefix(state, "58") // data, input and output
	return state != "" && !damaged && !s.conn.IsClosed()
}

// beginCount and endCount enclose each count. Planning a count(*) locks every index of the table; the
// rollback of the savepoint releases these locks. A count never reads an index, because an index may
// lack entries. The table itself is locked already, so the lock timeout applies to indexes only.
const (
	beginCount = "SAVEPOINT count; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off;" +
		" SET LOCAL enable_bitmapscan = off; SET LOCAL lock_timeout = '1s'; "
	endCount = "ROLLBACK TO SAVEPOINT count; RELEASE SAVEPOINT count"
)

// countPlanned counts the rows of some tables with one query. The planner opens the indexes and
// extended statistics of each table and inlines their functions. It fails if a function needs a
// search_path, and waits while an index is rebuilt.
func (s *session) countPlanned(ctx context.Context, tables []relation, into map[export.Table]int64) error {
	results, err := s.conn.PgConn().Exec(ctx, beginCount+countSQL(tables)+"; "+endCount).ReadAll()
	if err != nil {
		return s.rollBackCount(ctx, err)
	}
	for _, r := range results {
		for _, row := range r.Rows {
			i, err := strconv.Atoi(string(row[0]))
			if err != nil {
				return err
			}
			n, err := strconv.ParseInt(string(row[1]), 10, 64)
			if err != nil {
				return err
			}
			into[tables[i].table()] = n
		}
	}
	return nil
}

// countSQL returns the query that counts some tables: a row for each, with its index among them.
func countSQL(tables []relation) string {
	var b strings.Builder
	for i, t := range tables {
		if i > 0 {
			b.WriteString(" UNION ALL ")
		}
		fmt.Fprintf(&b, "SELECT %d, count(*) FROM ONLY %s", i, t.quoted())
		if t.condition != nil { // an extension's own words; pg_dump puts them in the same place
			b.WriteString(" " + *t.condition)
		}
	}
	return b.String()
}

// unplanned returns the tables that countPlanned cannot count. It counts nothing.
func (s *session) unplanned(ctx context.Context, tables []relation) (names []string, err error) {
	for some := range slices.Chunk(tables, lockChunk) {
		if err = s.plan(ctx, some); err == nil {
			continue
		}
		for _, t := range some {
			if err = s.plan(ctx, []relation{t}); err != nil && !s.uncounted(err) {
				return nil, err
			}
			if err != nil {
				names = append(names, t.show())
			}
		}
	}
	return names, nil
}

// plan lets the server plan the counts of some tables.
func (s *session) plan(ctx context.Context, tables []relation) error {
	if _, err := s.conn.PgConn().Exec(ctx, beginCount+"EXPLAIN "+countSQL(tables)+"; "+endCount).ReadAll(); err != nil {
		return s.rollBackCount(ctx, err)
	}
	return nil
}

// countCopied counts the rows of a table with a COPY, as pg_dump reads them. COPY plans nothing and
// opens no index. It reads one column, the narrowest one of fixed width if there is one.
func (s *session) countCopied(ctx context.Context, t relation, into map[export.Table]int64) error {
	columns, err := s.narrowestColumn(ctx, t)
	if err != nil {
		return err
	}
	if err := s.script(ctx, beginCount); err != nil {
		return err
	}
	tag, err := s.conn.PgConn().CopyTo(ctx, io.Discard, "COPY "+t.quoted()+columns+" TO STDOUT")
	if err != nil {
		return s.rollBackCount(ctx, err)
	}
	into[t.table()] = tag.RowsAffected()
	return s.script(ctx, endCount)
}

// narrowestColumn returns a column list for COPY; empty if the table has no column.
func (s *session) narrowestColumn(ctx context.Context, t relation) (string, error) {
	var name string
	err := s.conn.QueryRow(ctx, `
SELECT attname::text FROM pg_attribute
 WHERE attrelid = $1::bigint::oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
 ORDER BY attlen < 0, attlen, attnum LIMIT 1`, t.oid).Scan(&name)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return " (" + pgx.Identifier{name}.Sanitize() + ")", err
}

// rollBackCount makes the transaction usable again after a failed count, and returns why it failed.
func (s *session) rollBackCount(ctx context.Context, err error) error {
	if s.conn.IsClosed() {
		return err
	}
	return cmp.Or(s.script(ctx, endCount), err)
}

// wait returns the counts, or ctx's cause when that comes first.
func (c *counts) wait(ctx context.Context) (map[export.Table]int64, error) {
	select {
	case <-c.done:
		return maps.Clone(c.rows), c.err
	case <-ctx.Done():
		return nil, ended(context.Cause(ctx))
	}
}
