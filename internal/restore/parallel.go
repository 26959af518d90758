package restore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
)

// throughFolder is throughRestore for a directory archive, which pg_restore reads from a disk.
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
		Wrap: f.restorer.wrap(Reach{Folder: from.Path()}),
		Path: tool.Path, Env: aloneEnvironment(), Stdout: w, Keep: from.Held(),
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
		_ = process.Wait() // the verdict has its error
	}()
	return f.checked(ctx, out, process, func() error { return nil })
}

// aloneEnvironment returns the environment of a pg_restore without a server.
func aloneEnvironment() []string {
	return []string{"LC_ALL=C", "TZ=UTC", "HOME=/nonexistent", "PGPASSFILE=/dev/null"}
}

// restoreArguments returns the arguments of every pg_restore.
func restoreArguments(f export.Format) []string {
	return []string{"--format=" + archives[f], "--no-owner", "--no-acl", "--no-tablespaces", "--exit-on-error"}
}

// parallel lets pg_restore feed the target on several connections, without a transaction: the target
// changes from the first statement on.
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
	list, err := f.useList(ctx, tool, from)
	if err != nil {
		return err
	}
	if _, err := f.at.Conn.PgConn().Exec(ctx, settings+strings.Join(f.at.prelude, "\n")).ReadAll(); err != nil {
		if sqlState(err) == inTheWay {
			return fmt.Errorf("%w: it has changed since it was checked: %w", ErrOccupied, err)
		}
		return fmt.Errorf("%w: clear the schemas: %w", ErrTarget, err)
	}
	process, err := libpq.StartProcess(libpq.Command{
		Wrap: f.restorer.wrap(Reach{Server: &f.at.At, Folder: from.Path()}),
		Path: tool.Path, Password: f.at.Password, Keep: from.Held(),
		Env: f.at.source.Environment(f.at.At, f.at.Address, application, f.at.options),
		Args: append(append(restoreArguments(f.export.Manifest.Artifact.Format), list...), "--no-password",
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
	for _, statement := range closing(*f.export.Manifest.Artifact) {
		if _, err := f.at.Conn.PgConn().Exec(ctx, statement).ReadAll(); err != nil {
			return fmt.Errorf("%w: %w: revoke from PUBLIC: %w", ErrPartial, ErrTarget, err)
		}
	}
	if err := f.first.countIn(ctx, directly(f.at.Conn.PgConn())); err != nil {
		return fmt.Errorf("%w: %w", ErrPartial, err)
	}
	return nil
}

// listFile is the name of pg_restore's list of entries in the scratch folder.
const listFile = "restore.list"

// schemaEntry matches pg_restore's list entry of a schema, up to its name; the owner follows.
var schemaEntry = regexp.MustCompile(`^[0-9]+; [0-9]+ [0-9]+ SCHEMA - `)

// useList returns the arguments that make pg_restore leave out the schemas that exist already.
func (f *feed) useList(ctx context.Context, tool libpq.Version, from *unpacked) ([]string, error) {
	if len(f.at.kept) == 0 {
		return nil, nil
	}
	out, w, err := libpq.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }() // read end: nothing is lost
	process, err := libpq.StartProcess(libpq.Command{
		Wrap: f.restorer.wrap(Reach{Folder: from.Path()}),
		Path: tool.Path, Env: aloneEnvironment(), Stdout: w, Keep: from.Held(),
		Args: []string{"--format=" + archives[f.export.Manifest.Artifact.Format], "--list", from.path},
	})
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { process.Terminate(f.restorer.config.KillDelay) })()
	list, err := io.ReadAll(out)
	if exit := archiveVerdict(process); exit != nil || err != nil {
		return nil, cmp.Or(exit, err)
	}
	var kept bytes.Buffer
	for line := range bytes.Lines(list) {
		if !f.makesKept(string(line)) {
			kept.Write(line)
		}
	}
	if err := writeFile(from.Root(), listFile, &kept); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrScratch, err)
	}
	return []string{"--use-list=" + filepath.Join(from.Path(), listFile)}, nil
}

// makesKept reports whether a line of the list is the entry of a schema that exists already.
func (f *feed) makesKept(line string) bool {
	entry := schemaEntry.FindString(line)
	return entry != "" && slices.ContainsFunc(f.at.kept, func(name string) bool {
		// pg_restore writes a name on one line.
		name = strings.NewReplacer("\n", " ", "\r", " ").Replace(name)
		return strings.HasPrefix(line[len(entry):], name+" ")
	})
}

// keyword returns one keyword of a connection string. libpq would read a bare name that contains "="
// as a whole connection string.
func keyword(name, value string) string {
	return name + "='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}
