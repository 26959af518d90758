package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/restore"
	"github.com/pgcourier/pgcourier/internal/restore/scratch"
	"github.com/pgcourier/pgcourier/internal/service"
	"github.com/pgcourier/pgcourier/internal/stored"
	"github.com/pgcourier/pgcourier/internal/term"
)

func (a *app) restoreCommand() *cobra.Command {
	var clean, extensions, keepGoing, noTransaction, prepare bool
	var timeout time.Duration
	var jobs int
	var place stored.Placing
	cmd := &cobra.Command{
		Use:   "restore ID --to URL",
		Short: "Restore an export into a database",
		Long:  stored.RestoreHelp + idHelp,
		Example: "  pgcourier restore nightly-42 --to-file /run/secrets/target\n" +
			"  pgcourier restore acme/nightly-42 -i key.txt --storage s3://backups/prod --to postgres://me@db/empty\n" +
			"  pgcourier restore acme/nightly-42 --jobs 4 --to postgres://me@db/empty",
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&clean, "clean", false, "first drop all that the export's schemas hold, but no extension and nothing elsewhere")
	cmd.Flags().BoolVar(&extensions, "create-extensions", false, "first make the extensions that the export needs, in the schemas that they had")
	cmd.Flags().DurationVar(&timeout, "timeout", 12*time.Hour, "longest time of the restore itself, indexes included")
	cmd.Flags().IntVar(&jobs, "jobs", 0, "restore by so many connections, without the one transaction; 0: in one transaction")
	cmd.Flags().BoolVar(&keepGoing, "keep-going", false, "leave out what the database refuses, list it, and exit with 4")
	cmd.Flags().BoolVar(&noTransaction, "no-transaction", false, "execute each statement by itself, for a database with few locks")
	cmd.Flags().BoolVar(&prepare, "prepare", false, "restore nothing: print an SQL script that makes what the export needs")
	stored.PlaceFlags(cmd.Flags(), &place)
	open, _ := a.readingFlags(cmd, "RESTORE_URL", "VERIFY_SCRATCH_URL", "PG_BIN_DIR", "SPOOL_DIR", "CLIENT_CHECK", "SANDBOX")
	renameFlag(cmd, "restore-url", "to")
	cmd.Flags().Lookup("to-file").Usage = "file that holds --to"
	cmd.RunE = coded(func(cmd *cobra.Command, args []string) (err error) {
		ctx := cmd.Context()
		if timeout <= 0 {
			return exitf(exitUsage, "--timeout: %s is not positive", timeout)
		}
		x, c, err := open()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, x.Close()) }()
		if prepare {
			return a.prepare(ctx, x, args[0])
		}
		if c.RestoreURL == "" {
			return exitf(exitUsage, "name the database with --to, --to-file or PGCOURIER_RESTORE_URL")
		}
		target, err := libpq.Parse(c.RestoreURL)
		if err != nil {
			return exitf(exitUsage, "--to: %w", err)
		}
		place.Source = target.WithPasswordCommand(c.PasswordCommand)
		if place.Given() && (clean || jobs > 0 || keepGoing || noTransaction) {
			return exitf(exitUsage, "--clean, --jobs, --keep-going, --no-transaction: %w", stored.ErrPlaceFlags)
		}
		if err := service.CheckClients(ctx, c, a.logger(c), restore.Tools()...); err != nil {
			return err
		}
		copies, err := a.find(ctx, x, args[0])
		if err != nil {
			return err
		}
		from, err := x.Export(ctx, copies[0])
		if err != nil {
			return err
		}
		m := a.progress()
		defer m.Close()
		in, err := scratch.OpenSandbox(ctx, c.Sandbox, a.logger(c))
		if err != nil {
			return err
		}
		setup := x.RestoreConfig(in, a.quietLogger(c))
		setup.Timeout = timeout
		show := func(p restore.Progress) { m.Bytes(string(p.Stage), p.Stored, p.Total) }
		if place.Given() {
			server := scratch.NewServer(c.VerifyScratchURL, c.PasswordCommand, in)
			defer func() { err = errors.Join(err, server.Close()) }()
			setup.Scratch, place.CreateExtensions = server.For, extensions
			out, text, err := place.Do(ctx, restore.New(setup), from, show)
			m.Close()
			if err != nil {
				return stored.WithHint(err)
			}
			return a.print(out, term.SanitizeLines(text))
		}
		to := restore.Target{
			Source: place.Source, Clean: clean, CreateExtensions: extensions, Jobs: jobs, KeepGoing: keepGoing, NoTransaction: noTransaction,
		}
		r, err := restore.New(setup).Restore(ctx, from, to, show)
		m.Close()
		if err != nil {
			return refusedRestore(err)
		}
		out := restoredTo{ID: copies[0].ID.String(), Key: copies[0].Key, From: copies[0].Destination.Name, Database: target.Database(),
			ServerVersion: r.ServerVersion, Tables: len(r.Evidence.Contents.Tables), Rows: r.Evidence.Contents.Rows(),
			CheckMS: r.Evidence.Took.Milliseconds(), RestoreMS: r.Took.Milliseconds()}
		return a.print(out, fmt.Sprintf("restored %s into %s (PostgreSQL %s): %d rows in %d tables, counted there; checked in %s, restored in %s\n",
			term.Sanitize(out.ID), term.Sanitize(out.Database), term.Sanitize(out.ServerVersion), out.Rows, out.Tables,
			r.Evidence.Took.Round(time.Millisecond), r.Took.Round(time.Millisecond)))
	})
	return cmd
}

// refusedRestore gives the error of a restore its exit code and says what to do.
func refusedRestore(err error) error {
	_, dependents := errors.AsType[*restore.DependentsError](err)
	_, incomplete := errors.AsType[*restore.IncompleteError](err)
	switch {
	case errors.Is(err, restore.ErrOccupied):
		return exitf(exitFailed, "%w: restore into an empty database, or let --clean drop them", err)
	case dependents:
		return exitf(exitFailed, "%w: drop or change them first, or restore into an empty database", err)
	case incomplete:
		return exit(exitUnverified, err)
	case errors.Is(err, restore.ErrLocks):
		return exitf(exitFailed, "%w\nset it and restart the server, or restore with --no-transaction", err)
	case errors.Is(err, restore.ErrSteps):
		return exitf(exitUsage, "--no-transaction: %w", err)
	case errors.Is(err, restore.ErrJobs):
		return exitf(exitUsage, "--jobs: %w", err)
	}
	return stored.WithHint(err)
}

// prepare prints what has to be made in a database before an export is restored there.
func (a *app) prepare(ctx context.Context, x *stored.Exports, id string) error {
	copies, err := a.find(ctx, x, id)
	if err != nil {
		return err
	}
	from, err := x.Export(ctx, copies[0])
	if err != nil {
		return err
	}
	script := restore.Prepare(copies[0].ID.String(), *from.Manifest.Artifact)
	return a.print(prepared{copies[0].ID.String(), script}, script)
}

// prepared is the output of restore --prepare as JSON.
type prepared struct {
	ID     string `json:"id"`
	Script string `json:"script"`
}

// restoredTo is restore's output as JSON.
type restoredTo struct {
	ID            string `json:"id"`
	Key           string `json:"key"`
	From          string `json:"from"`
	Database      string `json:"database"`
	ServerVersion string `json:"server_version"`
	Tables        int    `json:"tables"`
	Rows          int64  `json:"rows"`
	CheckMS       int64  `json:"check_ms"`
	RestoreMS     int64  `json:"restore_ms"`
}

// renameFlag gives a setting's flag, and its file's, another name on one command. The
// setting's own name goes on working.
func renameFlag(cmd *cobra.Command, from, to string) {
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		switch name {
		case from:
			name = to
		case from + "-file":
			name = to + "-file"
		}
		return pflag.NormalizedName(name)
	})
}
