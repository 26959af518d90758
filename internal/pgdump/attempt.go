package pgdump

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
)

// attemptNames are the application names of an attempt's two sessions, shown in pg_stat_activity.
type attemptNames struct{ snapshot, dump string }

// namesOf returns the names for an attempt of a job. They follow from the request and the
// number of the attempt, so that the next attempt finds the sessions of a lost one. A job
// without a request gets names of its own.
func namesOf(j export.DumpJob, attempt int) attemptNames {
	if j.ID == (export.ID{}) {
		return randomNames()
	}
	digest := sha256.Sum256([]byte(j.ID.Project + "/" + j.ID.Request))
	// 64 bits tell all requests of a server apart. A name has at most 63 bytes.
	return namesFor(fmt.Sprintf("%s.%d", hex.EncodeToString(digest[:8]), attempt))
}

const snapshotName = "pgcourier snapshot "

func randomNames() attemptNames { return namesFor(strings.ToLower(rand.Text()[:8])) }

func namesFor(tag string) attemptNames {
	return attemptNames{snapshot: snapshotName + tag, dump: "pgcourier dump " + tag}
}

// keyOf returns the key of an attempt's advisory lock. Of a group dump, which has one name for many
// requests, the session with the snapshot holds the key of each.
func keyOf(j export.DumpJob, attempt int) int64 {
	digest := sha256.Sum256(fmt.Appendf(nil, "%s/%s.%d", j.ID.Project, j.ID.Request, attempt))
	return int64(binary.BigEndian.Uint64(digest[:8])) //nolint:gosec // any 64 bits are a key
}

// carry takes the advisory locks by which the next attempt of each member finds the sessions of its
// group. If the locks cannot be taken, the server's keepalives end lost sessions after 30 s.
func (s *session) carry(ctx context.Context, members []*Member) error {
	var keys []int64
	for _, m := range members {
		if m.job.ID != (export.ID{}) {
			keys = append(keys, keyOf(m.job, m.job.Attempt))
		}
	}
	_, err := s.attempt(ctx, func() error {
		_, err := s.conn.Exec(ctx, "SELECT pg_catalog.pg_try_advisory_xact_lock_shared(k) FROM pg_catalog.unnest($1::bigint[]) k", keys)
		return err
	})
	return err
}

// endLostAttempts ends the sessions of earlier attempts of these jobs on the source, sessions of their
// groups included. A worker on a machine that is lost closes no connection: its snapshot would hold
// back vacuum, and its locks the tenant's ALTER TABLE, until the server notices. The server's
// keepalives end a session that cannot be ended here. A request of another installation can have the
// same ID: its sessions are in another database of the server.
func (s *session) endLostAttempts(ctx context.Context, log *slog.Logger, jobs ...export.DumpJob) {
	var lost []string
	var keys []int64
	for _, j := range jobs {
		for attempt := 1; attempt < j.Attempt && j.ID != (export.ID{}); attempt++ {
			n := namesOf(j, attempt)
			lost = append(lost, n.snapshot, n.dump)
			keys = append(keys, keyOf(j, attempt))
		}
	}
	if len(lost) == 0 {
		return
	}
	groups, err := s.groupsOf(ctx, keys)
	var ended int
	if err == nil {
		err = s.conn.QueryRow(ctx, `
SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(a.pid)) FROM pg_catalog.pg_stat_activity a
 WHERE a.application_name OPERATOR(pg_catalog.=) ANY ($1::text[]) AND a.usename OPERATOR(pg_catalog.=) session_user
   AND a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()`, append(lost, groups...)).Scan(&ended)
	}
	switch {
	case err != nil:
		log.WarnContext(ctx, "sessions of a lost attempt could not be ended", "project_id", jobs[0].Project.ID, "error", err)
	case ended > 0:
		log.WarnContext(ctx, "sessions of a lost attempt ended", "project_id", jobs[0].Project.ID, "sessions", ended)
	}
}

// groupsOf returns the names of both sessions of each group that holds one of the keys. It ignores
// advisory locks with two 32-bit keys, which belong to other programs.
func (s *session) groupsOf(ctx context.Context, keys []int64) ([]string, error) {
	var high, low []int64
	for _, k := range keys {
		high, low = append(high, int64(uint32(k>>32))), append(low, int64(uint32(k))) //nolint:gosec // the halves, as pg_locks has them
	}
	rows, err := s.conn.Query(ctx, `
SELECT DISTINCT a.application_name FROM pg_catalog.pg_locks l
  JOIN ROWS FROM (pg_catalog.unnest($1::bigint[]), pg_catalog.unnest($2::bigint[])) k (high, low)
    ON l.classid::bigint OPERATOR(pg_catalog.=) k.high AND l.objid::bigint OPERATOR(pg_catalog.=) k.low
  JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) l.pid
 WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.objsubid OPERATOR(pg_catalog.=) 1`, high, low)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	var names []string
	for _, name := range found {
		if tag, ok := strings.CutPrefix(name, snapshotName); ok {
			n := namesFor(tag)
			names = append(names, n.snapshot, n.dump)
		}
	}
	return names, err
}

// endingWait bounds how long EndAttempts takes.
const endingWait = 10 * time.Second

// EndAttempts ends the sessions of all attempts of a request on the source. It is for a request
// without a further attempt, which would end them itself.
func (d *Dumper) EndAttempts(ctx context.Context, p export.Project, id export.ID, attempts int) error {
	ctx, cancel := context.WithTimeout(ctx, endingWait)
	defer cancel()
	src, err := d.source(p.DSN)
	if err != nil {
		return err
	}
	s, err := src.connect(ctx, restingName)
	if err != nil {
		return err
	}
	defer s.close()
	s.endLostAttempts(ctx, d.config.Logger, export.DumpJob{ID: id, Attempt: attempts + 1, Project: p})
	return nil
}
