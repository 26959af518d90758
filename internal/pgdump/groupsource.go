package pgdump

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
)

// bounded returns the first members that together have no more tables than may be locked.
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

// lockEach locks the tables of all members. It drops members with a table that another session has
// locked or has just rewritten. begin has set the lock timeout.
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

// attempt runs work in a savepoint and reports whether it succeeded. A failure is rolled back and does
// not abort the transaction. An error means that the session is no longer usable.
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

// sizes returns the bytes on disk of the members' tables without a VACUUM or ANALYZE. The tables are
// locked, so the measurement does not wait.
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
	// A project that cannot be measured counts as small: the bound of the spool protects the disk.
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
