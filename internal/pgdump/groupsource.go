package pgdump

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
)

// bounded keeps the first members that together have no more tables than may be locked.
func (s *session) bounded(ctx context.Context, members []*Member) ([]*Member, error) {
	var all []relation
	for _, m := range members {
		all = append(all, m.relations...)
	}
	if many, err := s.tooMany(ctx, all); err != nil || !many {
		return members, err
	}
	t, err := s.lockTable(ctx)
	if err != nil {
		return nil, err
	}
	room := t.share()
	return slices.DeleteFunc(slices.Clone(members), func(m *Member) bool {
		n := len(filter(m.relations, relation.locked))
		if n > room {
			return true
		}
		room -= n
		return false
	}), nil
}

// lockEach locks the tables of all members, and leaves out those with a table that another
// session holds or has just rewritten. begin has set how long it may wait.
func (s *session) lockEach(ctx context.Context, members []*Member) ([]*Member, error) {
	var all []relation
	for _, m := range members {
		all = append(all, m.relations...)
	}
	locked, err := s.attempt(ctx, func() error { return s.lock(ctx, all) })
	if locked || err != nil {
		return members, err
	}
	var free []*Member
	for _, m := range members {
		locked, err := s.attempt(ctx, func() error { return s.lock(ctx, m.relations) })
		if err != nil {
			return nil, err
		}
		if locked {
			free = append(free, m)
		}
	}
	return free, nil
}

// attempt does work that may fail without harm to the transaction, and keeps what it did if
// it did not. An error means that the session cannot go on.
func (s *session) attempt(ctx context.Context, work func() error) (done bool, err error) {
	if err := s.script(ctx, "SAVEPOINT attempt"); err != nil {
		return false, fail(ctx, err)
	}
	after := []string{"RELEASE attempt"} // a snapshot cannot be exported within a savepoint
	failure := work()
	if failure != nil {
		after = slices.Insert(after, 0, "ROLLBACK TO attempt")
	}
	if err := s.script(ctx, after...); err != nil {
		return false, fail(ctx, errors.Join(failure, err))
	}
	return failure == nil, nil
}

// sizes are the bytes on disk of the members' tables that no VACUUM or ANALYZE has seen. The
// tables are locked, so that measuring does not wait.
func (s *session) sizes(ctx context.Context, members []*Member) map[int64]int64 {
	var unknown []int64
	for _, m := range members {
		for _, r := range m.relations {
			if r.unmeasured && r.locked() {
				unknown = append(unknown, r.oid)
			}
		}
	}
	out := map[int64]int64{}
	if len(unknown) == 0 {
		return out
	}
	// A project that cannot be measured counts as small; the spool is bounded as well.
	_ = s.aside(ctx, "lock_timeout = '"+measureWait+"'", func() error {
		rows, err := s.conn.Query(ctx, "SELECT t, pg_table_size(t::oid) FROM unnest($1::bigint[]) t", unknown)
		if err != nil {
			return err
		}
		var oid, size int64
		_, err = pgx.ForEachRow(rows, []any{&oid, &size}, func() error {
			out[oid] = size
			return nil
		})
		return err
	})
	return out
}
