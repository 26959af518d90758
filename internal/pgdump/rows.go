package pgdump

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgversion"
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

// countSome counts the rows of some tables. It counts the plannable ones with one query for all, on failure
// with one query for each table, and on failure of that with a COPY; the others with a COPY each.
func (s *session) countSome(ctx context.Context, tables []relation, into map[export.Table]int64) error {
	copied := filter(tables, func(r relation) bool { return !r.plannable() })
	if err := s.countCopied(ctx, copied, into); err != nil {
		return err
	}
	if tables = filter(tables, relation.plannable); len(tables) == 0 {
		return nil
	}
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
		if !s.uncounted(err) || t.conditional() {
			return err
		}
		if err = s.countCopied(ctx, []relation{t}, into); err != nil {
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

// countPlanned counts the rows of some plannable tables with one query. The planner opens the indexes and
// extended statistics of each table. It waits while an index is rebuilt.
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
		if t.conditional() { // an extension's own words; pg_dump puts them in the same place
			b.WriteString(" " + *t.condition)
		}
	}
	return b.String()
}

// countCopied counts the rows of some tables with a COPY of each, as pg_dump reads them. COPY plans
// nothing and opens no index. It reads one column, the narrowest one of fixed width if there is one.
func (s *session) countCopied(ctx context.Context, tables []relation, into map[export.Table]int64) error {
	if len(tables) == 0 {
		return nil
	}
	columns, err := s.narrowestColumns(ctx, tables)
	if err != nil {
		return err
	}
	if err := s.script(ctx, "SAVEPOINT count"); err != nil {
		return err
	}
	for _, t := range tables {
		tag, err := s.conn.PgConn().CopyTo(ctx, io.Discard, "COPY "+t.quoted()+columns[t.oid]+" TO STDOUT")
		if err != nil {
			return s.rollBackCount(ctx, err)
		}
		into[t.table()] = tag.RowsAffected()
	}
	return s.script(ctx, endCount)
}

// narrowestColumns returns a column list for a COPY of each table, by oid. A table without a column has
// none.
func (s *session) narrowestColumns(ctx context.Context, tables []relation) (map[int64]string, error) {
	oids := make([]int64, len(tables))
	for i, t := range tables {
		oids[i] = t.oid
	}
	read := "true"
	if pgversion.Has(s.major(), pgversion.Generated) {
		read = "attgenerated = ''"
	}
	rows, err := s.conn.Query(ctx, `
SELECT DISTINCT ON (attrelid) attrelid::bigint, attname::text FROM pg_attribute
 WHERE attrelid = ANY ($1::bigint[]::oid[]) AND attnum > 0 AND NOT attisdropped AND `+read+`
 ORDER BY attrelid, attlen < 0, attlen, attnum`, oids)
	if err != nil {
		return nil, err
	}
	out := map[int64]string{}
	var oid int64
	var name string
	_, err = pgx.ForEachRow(rows, []any{&oid, &name}, func() error {
		out[oid] = " (" + pgx.Identifier{name}.Sanitize() + ")"
		return nil
	})
	return out, err
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
