package pgdump

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
)

// counts is the counting of all tables' rows in the snapshot, beside the dump.
type counts struct {
	done chan struct{}
	rows map[export.Table]int64 // once done, unless err is set
	err  error
}

// count starts counting on the snapshot's own session, which is the counting's alone until
// done. turn says when; nil: all at once.
func (s *session) count(ctx context.Context, v *survey, turn *trail) *counts {
	c := &counts{done: make(chan struct{}), rows: map[export.Table]int64{}}
	tables := v.counted()
	if turn != nil {
		slices.SortStableFunc(tables, func(a, b relation) int { return cmp.Compare(b.pages, a.pages) })
	}
	go func() {
		defer close(c.done)
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

// trail keeps the counting behind a pg_dump that writes each table to a file of its own, by as
// many tables as it dumps at once, both going from the largest to the smallest: what is counted
// is still in memory then, and the last are counted when connections have no table left, while
// the last files are on their way to the storage. Counting ahead of the dump takes the cores
// from it instead.
type trail struct {
	exited <-chan struct{} // closed once pg_dump has ended
	dumped <-chan struct{} // a value for each finished file; it holds all there can be
	behind int
}

// wait returns how many tables may be counted next, at most so many: all once pg_dump has ended,
// also when it failed, for what it failed of may be in a table.
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

func (s *session) countSome(ctx context.Context, tables []relation, into map[export.Table]int64) error {
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
	rows, err := s.conn.Query(ctx, b.String())
	if err != nil {
		return err
	}
	var i int
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&i, &n}, func() error {
		into[export.Table{Schema: tables[i].schema, Name: tables[i].name}] = n
		return nil
	})
	return err
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
