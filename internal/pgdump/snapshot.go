package pgdump

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// begin opens the transaction of the snapshot. It switches off timeouts, and resolves names in
// pg_catalog only also behind a proxy that drops options.
func (s *session) begin(ctx context.Context, role string, lockWait time.Duration) error {
	settings := []string{
		"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
		"SET LOCAL search_path = ''",
		"SET LOCAL row_security = off",
		"SET LOCAL statement_timeout = 0",
		"SET LOCAL idle_in_transaction_session_timeout = 0",
		fmt.Sprintf("SET LOCAL lock_timeout = %d", lockWait.Milliseconds()),
		// Counts must not take cores from the dump.
		"SET LOCAL max_parallel_workers_per_gather = 0",
	}
	if pgversion.Has(s.major(), pgversion.JIT) {
		settings = append(settings, "SET LOCAL jit = off")
	}
	if pgversion.Has(s.major(), pgversion.TransactionTimeout) {
		settings = append(settings, "SET LOCAL transaction_timeout = 0")
	}
	if err := s.script(ctx, settings...); err != nil {
		return fail(ctx, fmt.Errorf("begin: %w", err))
	}
	if role == "" {
		return nil
	}
	if _, err := s.conn.Exec(ctx, "SET LOCAL ROLE "+pgx.Identifier{role}.Sanitize()); err != nil {
		f := fail(ctx, fmt.Errorf("set role: %w", err))
		if state := sqlState(err); strings.HasPrefix(state, "22") || strings.HasPrefix(state, "42") {
			return newFault(codes.SourceForbidden, "the project's role cannot be taken by the login", err)
		}
		return f
	}
	return nil
}

// snapshot is an exported snapshot, with facts about its content.
type snapshot struct {
	id       string
	comments bool // dumped objects may have comments
	labels   bool // security labels are dumped: the database has some, and the rows are not masked
}

// maskedSQL is true if rows are read as a role that PostgreSQL Anonymizer marks as masked: the project's
// role, or else the login. The labels of its rules then stay out of the dump, which must not tell how the
// rows were masked (https://postgresql-anonymizer.readthedocs.io, "Anonymous Dumps").
const maskedSQL = `EXISTS (SELECT FROM pg_shseclabel l JOIN pg_roles r ON l.classoid = 'pg_authid'::regclass AND r.oid = l.objoid
        WHERE r.rolname = current_user AND l.label = 'MASKED')`

// exportSnapshot exports the snapshot of the transaction until its end. It finds comments in
// pg_description by the oid of their object: the 5,000 comments of initdb are on objects with oids
// below 16384 (FirstNormalObjectId). Objects that were created in single-user mode may have such oids
// too. If a chosen schema (as public, also after a rename) or an object in one has such an oid,
// comments counts as true.
func (s *session) exportSnapshot(ctx context.Context, schemas []string) (found snapshot, err error) {
	err = s.conn.QueryRow(ctx, `
SELECT pg_export_snapshot(),
       EXISTS (SELECT FROM pg_description WHERE objoid >= 16384)
    OR EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = ANY ($1::text[]::name[])
                  AND (n.oid < 16384 OR EXISTS (SELECT FROM pg_depend d
                                                 WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid AND d.objid < 16384))),
       EXISTS (SELECT FROM pg_seclabel) AND NOT `+maskedSQL, schemas).Scan(&found.id, &found.comments, &found.labels)
	return found, fail(ctx, wrap("export a snapshot", err))
}

// lockChunk is how many tables are locked or counted in one statement, at most.
const lockChunk = 64

// lock takes the locks that pg_dump will take, so that no session can rewrite, empty or drop a table
// before the last count: the counts would be of other rows. It then finds changes since the snapshot:
// a TRUNCATE or a rewrite gives a table a new file, and the snapshot no longer sees the old rows. The
// lock timeout is that of begin.
func (s *session) lock(ctx context.Context, relations []relation) error {
	for chunk := range slices.Chunk(filter(relations, relation.locked), lockChunk) {
		names := make([]string, len(chunk))
		for i, r := range chunk {
			names[i] = "ONLY " + r.quoted()
		}
		if _, err := s.conn.Exec(ctx, "LOCK TABLE "+strings.Join(names, ", ")+" IN ACCESS SHARE MODE"); err != nil {
			return fail(ctx, fmt.Errorf("lock tables: %w", err))
		}
	}
	return s.unchanged(ctx, relations)
}

// unchanged returns a fault if a table was rewritten, emptied, renamed or dropped since the
// snapshot.
func (s *session) unchanged(ctx context.Context, relations []relation) error {
	oids := make([]int64, 0, len(relations))
	for _, r := range filter(relations, relation.locked) {
		oids = append(oids, r.oid)
	}
	if len(oids) == 0 {
		return nil
	}
	// pg_class is read in the snapshot; the functions return the current state.
	var changed bool
	err := s.conn.QueryRow(ctx, `
SELECT EXISTS (
  SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE c.oid = ANY ($1::bigint[]::oid[])
     AND (to_regclass(format('%I.%I', n.nspname, c.relname)) IS DISTINCT FROM c.oid
          OR c.relkind = 'r' AND pg_relation_filenode(c.oid) IS DISTINCT FROM c.relfilenode))`, oids).Scan(&changed)
	if err != nil {
		return fail(ctx, fmt.Errorf("look at the locked tables: %w", err))
	}
	if changed {
		return newFault(codes.SourceUnavailable, "a table was rewritten while the dump began", nil)
	}
	return nil
}
