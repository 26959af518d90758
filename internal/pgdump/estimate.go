package pgdump

import (
	"context"
	"errors"
	"strings"
)

const (
	// measureWait bounds the measurement of one table without statistics.
	measureWait = "50ms"
	// measured is the most such tables that are measured.
	measured = 1000
	// blockSize is PostgreSQL's default.
	blockSize = 8192
)

// estimate returns how many bytes of table data the dump will read, from the catalogue's statistics.
// Tables without a VACUUM or ANALYZE are measured on disk, unless another session holds a lock on one
// of them: the size function would wait for it. The estimate is for progress; an error is ignored.
func (s *session) estimate(ctx context.Context, v *survey) int64 {
	var bytes int64
	var unknown []int64
	for _, r := range v.relations {
		if !r.counted(v.standby) {
			continue
		}
		bytes += r.pages * blockSize
		if r.unmeasured && len(unknown) < measured {
			unknown = append(unknown, r.oid)
		}
	}
	if len(unknown) == 0 {
		return bytes
	}
	var more int64
	err := s.aside(ctx, "lock_timeout = '"+measureWait+"'", func() error {
		return s.conn.QueryRow(ctx, `
SELECT coalesce(sum(pg_table_size(t)), 0)::bigint FROM unnest($1::bigint[]::oid[]) t`, unknown).Scan(&more)
	})
	if err != nil {
		return bytes
	}
	return bytes + more
}

// aside runs queries in a savepoint, under a setting that ends with them. A failure does not abort the
// transaction.
func (s *session) aside(ctx context.Context, setting string, queries func() error) error {
	if err := s.script(ctx, "SAVEPOINT aside", "SET LOCAL "+setting); err != nil {
		return err
	}
	err := queries()
	// Released: a snapshot cannot be exported within a savepoint.
	return errors.Join(err, s.script(ctx, "ROLLBACK TO aside", "RELEASE aside"))
}

// script runs statements without parameters in one round trip.
func (s *session) script(ctx context.Context, statements ...string) error {
	_, err := s.conn.PgConn().Exec(ctx, strings.Join(statements, ";")).ReadAll()
	return err
}
