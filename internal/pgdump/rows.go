package pgdump

import (
	"context"
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

// count starts counting on the snapshot's own session, which is the counting's alone until
// done. advance is called whenever a batch is counted.
func (s *session) count(ctx context.Context, v *survey, advance func()) *counts {
	c := &counts{done: make(chan struct{}), rows: map[seal.Table]int64{}}
	go func() {
		defer close(c.done)
		tables := filter(v.relations, func(r relation) bool { return r.counted(v.standby) })
		for chunk := range slices.Chunk(tables, lockChunk) {
			if err := s.countSome(ctx, chunk, c.rows); err != nil {
				c.err = fail(ctx, fmt.Errorf("count rows: %w", err))
				return
			}
			advance()
		}
	}()
	return c
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
