package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/pgcluster/contents"
	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/storage"
	"github.com/pgcourier/pgcourier/internal/storage/file"
)

// restoreAll restores every completed export and compares it with its source, in as many
// scratch databases at a time as the lab has.
func (w *world) restoreAll(ctx context.Context, r *result, completed []*events.Completed) error {
	driver, err := file.Open(w.storage)
	if err != nil {
		return err
	}
	defer func() { _ = driver.Close() }()
	repository, err := storage.New(storage.Config{Driver: driver})
	if err != nil {
		return err
	}
	work := make(chan *events.Completed)
	var mu sync.Mutex
	var all sync.WaitGroup
	for n := range 2 {
		all.Go(func() {
			for c := range work {
				if err := w.restore(ctx, repository, fmt.Sprintf("%s%d", scratchDatabase, n), c); err != nil {
					mu.Lock()
					r.Unreadable++
					r.blame("%s/%s: %v", c.ProjectID, c.RequestID, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, c := range completed {
		work <- c
	}
	close(work)
	all.Wait()
	return ctx.Err()
}

// restore checks one export against its event and its manifest, restores it and compares every
// table.
func (w *world) restore(ctx context.Context, repository *storage.Repository, database string, c *events.Completed) (err error) {
	_, key, _ := strings.Cut(c.Storage[0].URI, ":")
	b, err := os.ReadFile(filepath.Join(w.storage, key)) //nolint:gosec // the storage is ours
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	if int64(len(b)) != c.StoredBytes || hex.EncodeToString(sum[:]) != c.SHA256 {
		return fmt.Errorf("%d bytes with SHA-256 %x are stored, the event says %d and %s", len(b), sum, c.StoredBytes, c.SHA256)
	}
	doc, err := repository.Manifest(ctx, key)
	if err != nil {
		return err
	}
	if a := doc.Manifest.Outcome.Artifact; doc.SHA256 != c.SHA256 || a == nil || a.Rows != c.Rows {
		return errors.New("the manifest contradicts the event")
	}
	truth, known := w.lab.truth[c.ProjectID]
	if w.fault.platform && !known {
		return readThrough(b, c)
	}
	plain, err := seal.Open(bytes.NewReader(b), seal.Compression(c.Compression), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	conn, err := pgx.Connect(ctx, w.lab.control.URL(database))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	schema := pgx.Identifier{c.Schemas[0]}.Sanitize()
	if _, err := conn.Exec(ctx, "SET client_min_messages = error; DROP SCHEMA IF EXISTS "+schema+" CASCADE"); err != nil {
		return err
	}
	if err := w.feed(ctx, database, c.Format, plain); err != nil {
		return err
	}
	got, err := contents.Read(ctx, conn, c.Schemas)
	if err != nil {
		return err
	}
	if diffs := contents.Compare(truth, got); len(diffs) > 0 {
		return fmt.Errorf("restored, it differs: %s", strings.Join(diffs, "; "))
	}
	return nil
}

// readThrough unpacks an export to its end, which runs the export's own checks.
func readThrough(b []byte, c *events.Completed) error {
	plain, err := seal.Open(bytes.NewReader(b), seal.Compression(c.Compression), nil)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, plain)
	if err = errors.Join(err, plain.Close()); err == nil && n != c.SizeBytes {
		err = fmt.Errorf("unpacked it has %d bytes, the event says %d", n, c.SizeBytes)
	}
	return err
}

// feed gives a dump to the tool that restores its format.
func (w *world) feed(ctx context.Context, database string, f events.Format, plain io.Reader) error {
	tool, args := "pg_restore", []string{"--exit-on-error", "--single-transaction", "--dbname=" + database}
	if f == events.FormatSQL {
		tool, args = "psql", []string{"--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", "--output=/dev/null", "--file=-"}
	}
	cmd, err := w.lab.control.Client(ctx, database, tool, args...)
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = plain, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", tool, err, bytes.TrimSpace(stderr.Bytes()))
	}
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return fmt.Errorf("read to the end: %w", err)
	}
	return nil
}
