package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
)

// application is the name of the sessions in pg_stat_activity.
const application = "pgcourier restore"

// Config configures a Restorer.
type Config struct {
	// BinDirs are the folders that are searched for psql and pg_restore. Default:
	// /usr/lib/postgresql/*/bin, then the PATH without Debian's wrapper script.
	BinDirs []string
	// Timeout bounds the feeding, indexes included. pg_restore can loop for ever on a damaged tar
	// archive. Default 12 hours.
	Timeout time.Duration
	// SpoolDir is a folder on a local disk, created when needed. Exports of format directory, and
	// those that several connections restore, are completely unpacked there, in plain text.
	// Default: pgcourier-spool-UID in the folder for temporary files.
	SpoolDir string
	// KillDelay is how long psql and pg_restore may take to end after SIGTERM, before
	// SIGKILL. Default 5 seconds.
	KillDelay time.Duration
	// Confine, if not nil, changes how psql and pg_restore are started, for instance into a
	// sandbox.
	Confine func(cmd *exec.Cmd, reach Reach) error
	// LockWait bounds each wait of a placement for a lock in the target. Default 10 seconds.
	LockWait time.Duration
	// Scratch returns the throw-away server on which Place renames schemas, with space for the locks of
	// so many tables. nil: schemas cannot be renamed.
	Scratch func(ctx context.Context, tables int) (Scratch, error)
	// Logger gets psql's messages for refused exports, which may quote rows. Default
	// slog.Default().
	Logger *slog.Logger
}

// Reach is what a tool must reach besides its program, its input and its output.
type Reach struct {
	Server *libpq.Endpoint // nil: no server
	Folder string          // to read; empty: none
}

// wrap returns the function that confines a tool with this reach; nil: none.
func (r *Restorer) wrap(reach Reach) func(*exec.Cmd) error {
	if r.config.Confine == nil {
		return nil
	}
	return func(cmd *exec.Cmd) error { return r.config.Confine(cmd, reach) }
}

// Restorer restores exports. It is safe for concurrent use and needs no Close.
type Restorer struct {
	config Config
	psql   []libpq.Version
	pgr    []libpq.Version
}

// New returns a Restorer with the installed tools. A missing tool is an error only when a restore
// needs it. New logs which tools do not say their version.
func New(c Config) *Restorer {
	psqlDirs, restoreDirs := c.BinDirs, c.BinDirs
	if len(c.BinDirs) == 0 {
		psqlDirs, restoreDirs = libpq.BinDirs("psql"), libpq.BinDirs("pg_restore")
	}
	c.Timeout = cmp.Or(c.Timeout, 12*time.Hour)
	c.LockWait = cmp.Or(c.LockWait, 10*time.Second)
	c.KillDelay = cmp.Or(c.KillDelay, 5*time.Second)
	c.SpoolDir = cmp.Or(c.SpoolDir, filepath.Join(os.TempDir(), "pgcourier-spool-"+strconv.Itoa(os.Getuid())))
	c.Logger = cmp.Or(c.Logger, slog.Default())
	psql, psqlErr := libpq.Discover("psql", psqlDirs)
	pgr, pgrErr := libpq.Discover("pg_restore", restoreDirs)
	if err := errors.Join(psqlErr, pgrErr); err != nil {
		c.Logger.Warn("client tools left out", "error", err)
	}
	return &Restorer{config: c, psql: psql, pgr: pgr}
}

// Stage is a stage of a restore.
type Stage string

// The stages of a restore, in order.
const (
	Checking  Stage = "checking"
	Renaming  Stage = "renaming" // of a placement into a schema of another name: on the throw-away server
	Restoring Stage = "restoring"
)

// Progress is the progress of a stage.
type Progress struct {
	Stage  Stage
	Stored int64 // bytes of the stored export read in this stage
	Total  int64 // of the stored export
}

// Result is a finished restore.
type Result struct {
	Evidence      Evidence
	ServerVersion string        // of the target
	Took          time.Duration // of the feeding, COMMIT included
	// Unchecked lists what a rehearsal could not try, and why: beginnings of statements, and tables.
	// It is not a fault of the export. Names in it are safe to print.
	Unchecked []string
	// Uncounted are the tables among them: they hold fewer rows than the export, or are missing.
	Uncounted []export.Table
}

// Restore checks the target, verifies the export, and feeds it in one transaction, or with Target.Jobs
// by several connections without one. progress may be nil; it is called on the caller's goroutine
// and on one other, never concurrently.
//
// After an error the target is unchanged, with three exceptions: ErrPartial and *IncompleteError mean
// that it changed, and ErrTarget after a connection lost during COMMIT leaves it unknown. Errors wrap
// ErrOccupied, ErrJobs, ErrSteps, ErrLocks, ErrScratch, ErrTool, ErrTarget, ErrTimeout, ErrUnverified
// or ErrIdentity, are a *RejectedError or a *DependentsError, or are those of the export's reader.
func (r *Restorer) Restore(ctx context.Context, x Export, t Target, progress func(Progress)) (Result, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	if x.Manifest.Artifact == nil {
		return Result{}, unverified("the manifest describes no export")
	}
	if err := t.check(x.Manifest.Artifact.Format); err != nil {
		return Result{}, err
	}
	total := x.Manifest.Artifact.StoredBytes
	at, err := t.look(ctx, *x.Manifest.Artifact)
	if err != nil {
		return Result{}, err
	}
	defer at.Close()
	if t.Jobs > 0 {
		if err := r.direct(*x.Manifest.Artifact, at); err != nil {
			return Result{}, err
		}
	}
	found, err := x.Verify(ctx, func(n int64) { progress(Progress{Checking, n, total}) })
	if err != nil {
		return Result{}, err
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, r.config.Timeout, ErrTimeout)
	defer cancel()
	f := &feed{restorer: r, export: x, first: found, at: at, target: t, progress: func(n int64) { progress(Progress{Restoring, n, total}) }}
	if err := f.run(ctx); err != nil {
		if rejected, ok := errors.AsType[*RejectedError](err); ok {
			rejected.Missing, rejected.Warnings = at.missing, x.Manifest.Artifact.Warnings
		}
		cause := context.Cause(ctx)
		switch {
		case cause == nil:
			return Result{}, err
		case errors.Is(err, ErrPartial):
			return Result{}, fmt.Errorf("%w: %w", ErrPartial, cause)
		}
		return Result{}, cause
	}
	return Result{Evidence: found, ServerVersion: at.Version(), Took: time.Since(begun)}, nil
}

// start runs a tool with the returned file as its stdin. The caller closes it.
func (r *Restorer) start(ctx context.Context, c libpq.Command, reach Reach) (*libpq.Process, *os.File, func() bool, error) {
	in, w, err := libpq.Pipe()
	if err != nil {
		return nil, nil, nil, err
	}
	c.Stdin = in
	c.Wrap = r.wrap(reach)
	p, err := libpq.StartProcess(c)
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, nil, nil, errors.Join(err, w.Close())
	}
	return p, w, context.AfterFunc(ctx, func() { p.Terminate(r.config.KillDelay) }), nil
}
