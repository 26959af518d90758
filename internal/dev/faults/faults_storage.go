package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/failpoint"
)

// filler is the file with which the full disk is filled.
const filler = "filler"

func storageFaults() []fault {
	// The driver decides whether a folder without write permission is worth a second attempt.
	refusals := []codes.Code{codes.StorageRefused, codes.StorageUnavailable}
	return []fault{
		{
			name: "storage-full", about: "the disk is full in mid-write until a dump has failed by it", tmpfs: "512m",
			settings:  []string{"PGCOURIER_RETRY_BACKOFF=3s"},
			permitted: map[string][]codes.Code{anyProject: {codes.StorageFull}},
			strike:    storageFull,
		},
		{
			name: "storage-permission-lost", about: "the storage folder may not be written to until a dump has failed by it", unprivileged: true,
			permitted: map[string][]codes.Code{anyProject: refusals},
			strike:    func(ctx context.Context, w *world) error { return permissionLost(ctx, w, refusals) },
		},
		{
			name: "storage-read-only", about: "the file system becomes read-only between two dumps", tmpfs: "512m", unpublished: true,
			permitted: map[string][]codes.Code{anyProject: refusals},
			strike: func(ctx context.Context, w *world) error {
				if err := unix.Mount("", w.storage, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
					return err
				}
				err := w.publish(ctx, w.jobs)
				err = errors.Join(err, w.failing(ctx, refusals...))
				w.heal()
				return errors.Join(err, unix.Mount("", w.storage, "", unix.MS_REMOUNT, ""))
			},
		},
		{
			name: "storage-flipped-byte", about: "the object's bytes change before they are read back",
			// The first is of the storage's marker, when the worker starts.
			failpoints: string(failpoint.BeforeReadBack) + "=stop@2",
			strike: func(ctx context.Context, w *world) error {
				if err := w.stopped(ctx, string(failpoint.BeforeReadBack)); err != nil {
					return err
				}
				flipped, err := w.flip(ctx)
				if err == nil && flipped == 0 {
					err = errors.New("no file that is being written was found")
				}
				w.heal()
				err = errors.Join(err, w.workers[0].process.signal(syscall.SIGCONT))
				return errors.Join(err, w.failing(ctx, codes.StorageUnavailable))
			},
		},
		{
			name: "storage-wiped-staging", about: "all staging files are deleted in mid-write",
			strike: func(ctx context.Context, w *world) error {
				if _, err := w.dumping(ctx); err != nil {
					return err
				}
				staged, err := filepath.Glob(filepath.Join(w.storage, ".staging", "*"))
				for _, s := range staged {
					err = errors.Join(err, ignoreGone(os.Remove(s)))
				}
				w.heal()
				return err
			},
		},
	}
}

// failing waits until an attempt has failed with one of the codes.
func (w *world) failing(ctx context.Context, want ...codes.Code) error {
	err := until(ctx, timeout(0), fmt.Sprintf("an attempt to fail with one of %q", want), func(ctx context.Context) (bool, error) {
		n, err := w.count(ctx, `SELECT count(*) FROM pgcourier.attempts WHERE code = ANY ($1)`, want)
		return n > 0, err
	})
	return errors.Join(err, w.mark(ctx))
}

// storageFull fills the disk while dumps are being written.
func storageFull(ctx context.Context, w *world) error {
	if _, err := w.dumping(ctx); err != nil {
		return err
	}
	path := filepath.Join(w.storage, filler)
	if err := fill(path); err != nil {
		return err
	}
	err := w.failing(ctx, codes.StorageFull)
	w.heal()
	return errors.Join(err, os.Remove(path))
}

// fill writes a file until its disk is full to the last page.
func fill(path string) error {
	f, err := os.Create(path) //nolint:gosec // in a folder of the harness
	if err != nil {
		return err
	}
	for size := 1 << 20; size >= os.Getpagesize(); size /= 2 {
		block := make([]byte, size)
		for err == nil {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return errors.Join(err, f.Close())
		}
		err = nil
	}
	return f.Close()
}

// permissionLost removes the write permission during a dump.
func permissionLost(ctx context.Context, w *world, refusals []codes.Code) error {
	if _, err := w.dumping(ctx); err != nil {
		return err
	}
	modes := map[string]fs.FileMode{}
	err := filepath.WalkDir(w.storage, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !e.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		modes[path] = 0o700
		return ignoreGone(os.Chmod(path, 0o500)) //nolint:gosec // the workers must see it to be refused
	})
	err = errors.Join(err, w.failing(ctx, refusals...))
	for path, mode := range modes {
		err = errors.Join(err, ignoreGone(os.Chmod(path, mode)))
	}
	w.heal()
	return err
}

// stagingPattern returns a pattern, as for filepath.Glob and below the storage's folder, of the
// files in which storage/file writes a key's parts. If it is wrong, flip finds nothing to change
// and the fault's account says so.
func stagingPattern(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(".staging", hex.EncodeToString(sum[:16])+".*")
}

// flip changes one byte of each object that the first worker is writing.
func (w *world) flip(ctx context.Context) (flipped int, err error) {
	k := w.workers[0]
	rows, err := w.lab.ledger.Query(ctx, `SELECT object FROM pgcourier.attempts WHERE result = 'running' AND worker = $1`, k.names[len(k.names)-1])
	if err != nil {
		return 0, err
	}
	objects, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, err
	}
	for _, object := range objects {
		staged, err := filepath.Glob(filepath.Join(w.storage, stagingPattern(object)))
		if err != nil {
			return flipped, err
		}
		for _, path := range staged {
			b, err := os.ReadFile(path) //nolint:gosec // the storage is ours
			if err == nil && len(b) == 0 {
				continue // it is about to be written
			}
			if err == nil {
				b[len(b)/2] ^= 1
				err = os.WriteFile(path, b, 0o600) //nolint:gosec // the storage is ours
			}
			if err != nil {
				return flipped, err
			}
			flipped++
		}
	}
	return flipped, nil
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
