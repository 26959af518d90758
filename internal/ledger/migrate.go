package ledger

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	tern "github.com/jackc/tern/v2/migrate"
)

// ErrSchemaTooNew says that a newer release has migrated the schema, so this release must not write
// to it.
var ErrSchemaTooNew = errors.New("the ledger's schema is newer than this release knows")

// ErrMustMigrate says that the schema is missing or older than this release, and that the login has
// no right to migrate it.
var ErrMustMigrate = errors.New("the ledger's schema must be migrated, which this login may not: run `pgcourier migrate` as its owner")

// ErrNotMigrated says that the schema is missing or older than this release. Attach does not
// migrate it.
var ErrNotMigrated = errors.New("the ledger's schema is not up to date")

//go:embed migrations/*.sql
var migrations embed.FS

const versionTable = "pgcourier.schema_version"

// migrationLock is the key of the advisory lock around the migration, "pgcourie" as a number.
// tern takes its own lock inside it, but only after the schema with its version table exists.
const migrationLock int64 = 0x7067636f75726965

// migrate brings the schema up to date. A schema that is up to date requires only the right to read
// the version.
func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	files, paths, err := known()
	if err != nil {
		return err
	}
	return pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		if done, err := upToDate(ctx, c.Conn(), len(paths)); done || err != nil {
			return err
		}
		err := underLock(ctx, c.Conn(), func() error { return upgrade(ctx, c.Conn(), files, len(paths)) })
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "42501" {
			return fmt.Errorf("%w: %w", ErrMustMigrate, err)
		}
		return err
	})
}

// known returns this release's migrations.
func known() (files fs.FS, paths []string, err error) {
	if files, err = fs.Sub(migrations, "migrations"); err != nil {
		return nil, nil, err
	}
	if paths, err = tern.FindMigrations(files); err != nil {
		return nil, nil, fmt.Errorf("read migrations: %w", err)
	}
	return files, paths, nil
}

// SchemaVersion returns the version of the ledger's schema.
func (l *Ledger) SchemaVersion(ctx context.Context) (version int, err error) {
	err = l.call(ctx, "read schema version", func(ctx context.Context) error {
		return l.pool.QueryRow(ctx, "SELECT version FROM "+versionTable).Scan(&version)
	})
	return version, err
}

// upToDate compares the schema's version with the newest known one.
func upToDate(ctx context.Context, c *pgx.Conn, newest int) (bool, error) {
	var exists bool
	if err := c.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", versionTable).Scan(&exists); err != nil || !exists {
		return false, err
	}
	var version int
	if err := c.QueryRow(ctx, "SELECT version FROM "+versionTable).Scan(&version); err != nil {
		return false, fmt.Errorf("read schema version: %w", err)
	}
	if version > newest {
		return false, fmt.Errorf("%w: version %d, known up to %d", ErrSchemaTooNew, version, newest)
	}
	return version == newest, nil
}

func underLock(ctx context.Context, c *pgx.Conn, do func() error) (err error) {
	if _, err := c.Exec(ctx, "SELECT pg_advisory_lock($1)", migrationLock); err != nil {
		return fmt.Errorf("lock the migration: %w", err)
	}
	defer func() {
		if _, unlockErr := c.Exec(ctx, "SELECT pg_advisory_unlock($1)", migrationLock); unlockErr != nil {
			// A session that still holds the lock must not return to the pool.
			err = errors.Join(err, unlockErr, c.Close(context.WithoutCancel(ctx)))
		}
	}()
	return do()
}

func upgrade(ctx context.Context, c *pgx.Conn, files fs.FS, newest int) error {
	// Another process may have migrated meanwhile.
	if done, err := upToDate(ctx, c, newest); done || err != nil {
		return err
	}
	// CREATE SCHEMA IF NOT EXISTS needs the right to create even when the schema exists.
	var exists bool
	if err := c.QueryRow(ctx, "SELECT to_regnamespace('pgcourier') IS NOT NULL").Scan(&exists); err != nil {
		return fmt.Errorf("look for the schema: %w", err)
	}
	if !exists {
		if _, err := c.Exec(ctx, "CREATE SCHEMA pgcourier"); err != nil {
			return fmt.Errorf("create schema pgcourier: %w", err)
		}
	}
	m, err := tern.NewMigrator(ctx, c, versionTable)
	if err != nil {
		return fmt.Errorf("create version table: %w", err)
	}
	if err := m.LoadMigrations(files); err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if err := m.Migrate(ctx); err != nil {
		return fmt.Errorf("migrate schema pgcourier: %w", err)
	}
	return nil
}
