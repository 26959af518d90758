package pgdump

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/pgcourier/pgcourier/internal/export"
)

// attemptNames are the application names of an attempt's two sessions, as an operator sees them
// in pg_stat_activity.
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

func randomNames() attemptNames { return namesFor(strings.ToLower(rand.Text()[:8])) }

func namesFor(tag string) attemptNames {
	return attemptNames{snapshot: "pgcourier snapshot " + tag, dump: "pgcourier dump " + tag}
}

// endLostAttempts ends the sessions that earlier attempts of the request have left on the
// source. A worker on a machine that vanishes closes no connection: its snapshot would hold back
// vacuum, and its locks the tenant's ALTER TABLE, until the server notices. A session that
// cannot be ended is left to the server's keepalives.
func (o *opening) endLostAttempts(ctx context.Context) {
	var lost []string
	for attempt := 1; attempt < o.job.Attempt; attempt++ {
		n := namesOf(o.job, attempt)
		lost = append(lost, n.snapshot, n.dump)
	}
	if len(lost) == 0 {
		return
	}
	var ended int
	err := o.session.conn.QueryRow(ctx, `
SELECT count(pg_catalog.pg_terminate_backend(a.pid)) FROM pg_catalog.pg_stat_activity a
 WHERE a.application_name OPERATOR(pg_catalog.=) ANY ($1::text[]) AND a.usename OPERATOR(pg_catalog.=) session_user`, lost).Scan(&ended)
	switch {
	case err != nil:
		o.config.Logger.WarnContext(ctx, "sessions of a lost attempt left to the server", "project_id", o.job.Project.ID, "error", err)
	case ended > 0:
		o.config.Logger.WarnContext(ctx, "sessions of a lost attempt ended", "project_id", o.job.Project.ID, "sessions", ended)
	}
}
