package pgdump

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/seal"
)

// counts is the counting of all tables' rows in the snapshot, beside the dump.
type counts struct {
	done chan struct{}
	rows map[seal.Table]int64 // once done, unless err is set
	err  error
}

// errUncounted is why not all was counted: pg_dump failed, so nobody asks.
var errUncounted = errors.New("pg_dump failed before all rows were counted")

// count starts counting on the snapshot's own session, which is the counting's alone until
// done. turn says when; nil: all at once.
func (s *session) count(ctx context.Context, v *survey, turn *trail) *counts {
	c := &counts{done: make(chan struct{}), rows: map[seal.Table]int64{}}
	tables := v.counted()
	if turn != nil {
		slices.SortStableFunc(tables, func(a, b relation) int { return cmp.Compare(b.pages, a.pages) })
	}
	go func() {
		defer close(c.done)
		for len(tables) > 0 && c.err == nil {
			n := min(len(tables), lockChunk)
			if turn != nil {
				if n, c.err = turn.wait(ctx, n); c.err != nil {
					return
				}
			}
			if err := s.countSome(ctx, tables[:n], c.rows); err != nil {
				c.err = fail(ctx, fmt.Errorf("count rows: %w", err))
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
	process *process
	dumped  <-chan struct{} // a value for each finished file; it holds all there can be
	behind  int
}

// wait returns how many tables may be counted next, at most so many.
func (t *trail) wait(ctx context.Context, most int) (int, error) {
	for {
		select {
		case <-ctx.Done():
			return 0, ended(context.Cause(ctx))
		case <-t.process.Exited():
			if t.process.Wait() != nil {
				return 0, errUncounted
			}
			return most, nil
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
		return n, nil
	}
}

func (s *session) countSome(ctx context.Context, tables []relation, into map[seal.Table]int64) error {
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
		into[seal.Table{Schema: tables[i].schema, Name: tables[i].name}] = n
		return nil
	})
	return err
}

// wait returns the counts, or ctx's cause when that comes first.
func (c *counts) wait(ctx context.Context) (map[seal.Table]int64, error) {
	select {
	case <-c.done:
		return maps.Clone(c.rows), c.err
	case <-ctx.Done():
		return nil, ended(context.Cause(ctx))
	}
}
