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
	cmd := &cobra.Command{
		Use:   "restore ID --to URL",
		Short: "Restore an export into a database",
		Long: "First reads the whole export and checks it as verify does. Only then it is fed to\n" +
			"the database, in one transaction that ends with a count of every table and is rolled\n" +
			"back on any error. Owners and rights are not restored, but routines and types\n" +
			"that PUBLIC may not use in the source are revoked from it. A schema that holds\n" +
			"anything but extensions is refused, unless --clean drops all that it holds, in the same\n" +
			"transaction. The schema itself stays with its rights, and so do extensions. If objects\n" +
			"outside of the export's schemas depend on what would be dropped, they are listed and\n" +
			"nothing is changed.\n\n" +
			"The extensions that an export needs are not in it: --create-extensions makes those that\n" +
			"the target lacks, in the schemas that they had, as far as the server has them.\n\n" +
			"With --jobs a custom or directory archive is restored by so many connections at a\n" +
			"time. This is faster but not one transaction: an error leaves part of the export in\n" +
			"the target, so its schemas must be missing or empty. For it, and for every export of\n" +
			"format directory, the whole dump lies in SPOOL_DIR meanwhile, readable by this user.\n\n" +
			"With --keep-going a statement that the database refuses is rolled back alone and listed,\n" +
			"and so are tables that then hold other rows than the export; the rest is committed, and\n" +
			"the exit code is 4. With --no-transaction each statement is executed by itself: for very\n" +
			"many tables on a server with few locks. An error leaves part of the export, and the\n" +
			"dump lies in SPOOL_DIR meanwhile.\n\n" +
			"With --prepare nothing is restored: it prints an SQL script for the database's\n" +
			"administrator, with the roles and extensions that the export needs, and as comments the\n" +
			"objects of other schemas and the export's warnings.\n\n" +
			"A restore executes the statements of the dump: use a login with no more rights than it\n" +
			"needs. The URL may not hold a password: put the whole URL into PGCOURIER_RESTORE_URL or\n" +
			"a file.\n\n" + idHelp,
		Example: "  pgcourier restore nightly-42 --to-file /run/secrets/target\n" +
			"  pgcourier restore acme/nightly-42 -i key.txt --storage s3://backups/prod --to postgres://me@db/empty\n" +
			"  pgcourier restore acme/nightly-42 --jobs 4 --to postgres://me@db/empty",
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&clean, "clean", false, "first drop all that the export's schemas hold, but no extension and nothing elsewhere")
	cmd.Flags().BoolVar(&extensions, "create-extensions", false, "first make the extensions that the export needs, in the schemas that they had")
	cmd.Flags().DurationVar(&timeout, "timeout", 12*time.Hour, "longest run of the feeding, indexes included")
	cmd.Flags().IntVar(&jobs, "jobs", 0, "restore by so many connections, without the one transaction; 0: in one transaction")
	cmd.Flags().BoolVar(&keepGoing, "keep-going", false, "leave out what the database refuses, list it, and exit with 4")
	cmd.Flags().BoolVar(&noTransaction, "no-transaction", false, "execute each statement by itself, for a database with few locks")
	cmd.Flags().BoolVar(&prepare, "prepare", false, "restore nothing: print an SQL script that makes what the export needs")
	open, _ := a.readingFlags(cmd, "RESTORE_URL", "PG_BIN_DIR", "SPOOL_DIR", "CLIENT_CHECK", "SANDBOX")
	renameFlag(cmd, "restore-url", "to")
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
		target = target.WithPasswordCommand(c.PasswordCommand)
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
		to := restore.Target{
			Source: target, Clean: clean, CreateExtensions: extensions, Jobs: jobs, KeepGoing: keepGoing, NoTransaction: noTransaction,
		}
		r, err := restore.New(setup).Restore(ctx, from, to,
			func(p restore.Progress) { m.Bytes(string(p.Stage), p.Stored, p.Total) })
		m.Close()
		if errors.Is(err, restore.ErrOccupied) {
			return exitf(exitFailed, "%w: restore into an empty database, or let --clean drop them", err)
		}
		if _, ok := errors.AsType[*restore.DependentsError](err); ok {
			return exitf(exitFailed, "%w: drop or change them first, or restore into an empty database", err)
		}
		if _, ok := errors.AsType[*restore.IncompleteError](err); ok {
			return exit(exitUnverified, err)
		}
		if errors.Is(err, restore.ErrLocks) {
			return exitf(exitFailed, "%w\nset it and restart the server, or restore with --no-transaction", err)
		}
		if errors.Is(err, restore.ErrSteps) {
			return exitf(exitUsage, "--no-transaction: %w", err)
		}
		if errors.Is(err, restore.ErrJobs) {
			return exitf(exitUsage, "--jobs: %w", err)
		}
		if err != nil {
			return stored.WithHint(err)
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
