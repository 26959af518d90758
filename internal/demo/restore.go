package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// restore reads an export back twice: first to its end, to check every hash and the dump's
// own structure, and only then into the empty database. Then it compares every table.
func (d *story) restore(ctx context.Context, c *events.Completed) error {
	check, err := d.read(ctx, c, func(plain io.Reader) error {
		_, err := archive.Check(plain, export.Format(c.Format))
		return err
	})
	if err = errors.Join(err, check); err != nil {
		return fmt.Errorf("verify the export of %s: %w", c.ProjectID, err)
	}
	fed, err := d.read(ctx, c, func(plain io.Reader) error { return d.psql(ctx, "restored", plain) })
	if err = errors.Join(err, fed); err != nil {
		return fmt.Errorf("restore %s: %w", c.ProjectID, err)
	}
	var sides [2]map[string]contents.Table
	for i, database := range []string{"platform", "restored"} {
		if sides[i], err = d.contents(ctx, database, c.Schemas); err != nil {
			return fmt.Errorf("read %s: %w", database, err)
		}
	}
	if diffs := contents.Compare(sides[0], sides[1]); len(diffs) > 0 {
		return fmt.Errorf("the restored %s differs: %s", c.ProjectID, strings.Join(diffs, "; "))
	}
	var rows int64
	for _, t := range sides[1] {
		rows += t.Rows
	}
	d.tell("%-5s  checked, restored, equal: %d tables, views and sequences with %d rows, by count and content hash", c.ProjectID, len(sides[1]), rows)
	return nil
}

// read opens the stored export and hands its plain dump to use. The first result is the error
// of use.
func (d *story) read(ctx context.Context, c *events.Completed, use func(io.Reader) error) (used, err error) {
	stored, err := d.exports.Set[0].Open(ctx, keyOf(c))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stored.Close()) }()
	plain, err := seal.Open(stored, seal.Compression(c.Compression), d.storage.identities)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	return use(plain), nil
}

func (d *story) contents(ctx context.Context, database string, schemas []string) (map[string]contents.Table, error) {
	conn, err := pgx.Connect(ctx, d.cluster.URL(database))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	return contents.Read(ctx, conn, schemas)
}

// psql feeds a script to a database of the demo's cluster, in one transaction that any
// error ends.
func (d *story) psql(ctx context.Context, database string, script io.Reader) error {
	args := []string{"--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null", "--file=-"}
	if database != "postgres" { // CREATE DATABASE refuses a transaction
		args = append(args, "--single-transaction")
	}
	cmd, err := d.cluster.Client(ctx, database, "psql", args...)
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = script, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("psql: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}
