package restore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// throughFolder is throughRestore for a directory, which pg_restore reads from a disk.
func (f *feed) throughFolder(ctx context.Context, p *pass) (err error) {
	tool, err := chooseRestore(f.restorer.pgr, *f.export.Manifest.Artifact)
	if err != nil {
		return errors.Join(err, f.drop(p))
	}
	from, err := f.unpack(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	out, w, err := libpq.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }() // read end: nothing is lost
	process, err := libpq.StartProcess(libpq.Command{
		Wrap: f.restorer.wrap(Reach{Folder: from.path}),
		Path: tool.Path, Env: aloneEnvironment(), KillDelay: f.restorer.config.KillDelay, Stdout: w, Keep: from.Held(),
		Args: append(restoreArguments(f.export.Manifest.Artifact.Format), "--file=-", from.path),
	})
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { process.Terminate(f.restorer.config.KillDelay) })
	defer func() {
		if stop() {
			process.Terminate(f.restorer.config.KillDelay)
		}
		_ = process.Wait() // the verdict has said it
	}()
	return f.checked(ctx, out, process, func() error { return nil })
}

// aloneEnvironment is that of a pg_restore that reaches no server.
func aloneEnvironment() []string {
	return []string{"LC_ALL=C", "TZ=UTC", "HOME=/nonexistent", "PGPASSFILE=/dev/null"}
}

// restoreArguments are what every pg_restore is given.
func restoreArguments(f seal.Format) []string {
	return []string{"--format=" + archives[f], "--no-owner", "--no-acl", "--exit-on-error"}
}

// parallel lets pg_restore feed the target itself, on several connections. It is no
// transaction: from the first statement on the target changes.
func (f *feed) parallel(ctx context.Context, p *pass, jobs int) (err error) {
	tool, err := chooseRestore(f.restorer.pgr, *f.export.Manifest.Artifact)
	if err != nil {
		return errors.Join(err, f.drop(p))
	}
	from, err := f.unpack(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	for _, statement := range f.at.prelude { // schemas that are empty
		if _, err := f.at.Conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%w: make room: %w", ErrTarget, err)
		}
	}
	process, err := libpq.StartProcess(libpq.Command{
		Wrap: f.restorer.wrap(Reach{Server: &f.at.At, Folder: from.path}),
		Path: tool.Path, Password: f.at.Password, KillDelay: f.restorer.config.KillDelay, Keep: from.Held(),
		Env: f.at.source.Environment(f.at.At, f.at.Address, application, f.at.options),
		Args: append(restoreArguments(f.export.Manifest.Artifact.Format), "--no-password",
			"--jobs="+strconv.Itoa(jobs), "--dbname="+keyword("dbname", f.at.source.Database()), from.path),
	})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { process.Terminate(f.restorer.config.KillDelay) })()
	if exit := process.Wait(); exit != nil {
		words := process.Stderr()
		if f.at.Password != "" {
			words = strings.ReplaceAll(words, f.at.Password, "***")
		}
		f.restorer.config.Logger.WarnContext(ctx, "pg_restore failed", "exit", exit.Error(), "stderr", words)
		return fmt.Errorf("%w: %w", ErrPartial, &RejectedError{Stderr: words})
	}
	return f.countThere(ctx)
}

// countThere holds every table against the export, in the target.
func (f *feed) countThere(ctx context.Context) error {
	var script strings.Builder
	script.WriteString("SET row_security = off;")
	if err := counts(&script, f.first.Contents); err != nil {
		return err
	}
	_, err := f.at.Conn.PgConn().Exec(ctx, script.String()).ReadAll()
	switch {
	case sqlState(err) == wrongCount, strings.HasPrefix(sqlState(err), "42"), sqlState(err) == "3F000":
		return fmt.Errorf("%w: %w", ErrPartial, unverified("after the restore: %w", err))
	case err != nil:
		return fmt.Errorf("%w: %w: count: %w", ErrPartial, ErrTarget, err)
	}
	return nil
}

// keyword writes one keyword of a connection string. A bare name with "=" in it would be
// taken for a whole one.
func keyword(name, value string) string {
	return name + "='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}
