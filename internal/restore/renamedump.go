package restore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// Sections of pg_dump's output.
const (
	preData  = "pre-data"
	postData = "post-data"
)

// dump runs pg_dump on the renamed schema, and read with its output. read calls whole at the end of the
// output, with its error so far; whole returns an error if pg_dump has not exited with 0.
func (m *renaming) dump(ctx context.Context, section string, read func(out io.Reader, whole func(error) error) error) error {
	r := m.restorer
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends pg_dump
	ses, err := open(ctx, m.on.Server.WithDatabase(m.database))
	if err != nil {
		return err
	}
	defer ses.Close()
	tool, err := r.chooseDump(ses.Major())
	if err != nil {
		return err
	}
	out, w, err := libpq.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }() // read end: nothing is lost
	process, err := libpq.StartProcess(libpq.Command{
		Path: tool.Path, Password: ses.Password, Stdout: w, Args: m.dumpArguments(section),
		Env:  m.on.Server.WithDatabase(m.database).Environment(ses.At, ses.Address, application, ""),
		Wrap: r.wrap(Reach{Server: &ses.At}),
	})
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { process.Terminate(r.config.KillDelay) })
	defer func() {
		if stop() {
			process.Terminate(r.config.KillDelay)
		}
		_ = process.Wait() // the verdict has its error
	}()
	return read(out, func(feeding error) error {
		if feeding != nil {
			process.Terminate(r.config.KillDelay)
			return ignoreSink(feeding)
		}
		if _, err := io.Copy(io.Discard, out); err != nil {
			return err
		}
		if exit := process.Wait(); exit != nil {
			return fmt.Errorf("%w: pg_dump: %w: %s", ErrScratch, exit, strings.TrimSpace(process.Stderr()))
		}
		return nil
	})
}

// feedSection executes the statements of a section, which holds no rows.
func (m *renaming) feedSection(ctx context.Context, s *steps, section string) error {
	return m.dump(ctx, section, func(out io.Reader, whole func(error) error) error {
		script := archive.NewScript(forTarget(bufio.NewReaderSize(out, 256<<10), s.feed.at))
		for {
			statement, copies, err := script.Next()
			switch {
			case err == io.EOF: //nolint:errorlint // a wrapped one is a failure, not an end
				if err := whole(nil); err != nil || section != preData {
					return err
				}
				return s.feed.target.placing.endDefinitions(ctx, s)
			case err == nil && copies:
				err = unverified("pg_dump wrote rows into the section %s", section)
			case err == nil:
				err = s.place(ctx, statement, false)
			}
			if err != nil {
				return errors.Join(err, whole(errSink))
			}
		}
	})
}

func (m *renaming) dumpArguments(section string) []string {
	args := []string{
		"--format=plain", "--no-owner", "--no-acl", "--no-tablespaces", "--no-publications", "--no-subscriptions", "--strict-names", "--no-password",
		`--schema="` + strings.ReplaceAll(m.to, `"`, `""`) + `"`,
	}
	if m.artifact.Needs.Encoding == "" {
		args = append(args, "--encoding=UTF8")
	}
	if section != "" {
		args = append(args, "--section="+section)
	}
	return args
}

// chooseDump returns the oldest pg_dump that can read a server: a newer one writes settings that an
// older target refuses. ErrTool: there is none, with libpq.ErrNoAnswer if a retry may find one.
func (r *Restorer) chooseDump(major int) (libpq.Version, error) {
	dirs := r.config.BinDirs
	if len(dirs) == 0 {
		dirs = libpq.BinDirs("pg_dump")
	}
	found, unknown := libpq.Discover("pg_dump", dirs)
	if unknown != nil {
		r.config.Logger.Warn("client tools left out", "error", unknown)
	}
	for _, v := range found {
		if v.Major >= major {
			return v, nil
		}
	}
	err := fmt.Errorf("%w: no pg_dump for the throw-away server of PostgreSQL %d", ErrTool, major)
	if unknown != nil {
		err = fmt.Errorf("%w: %w", err, unknown)
	}
	return libpq.Version{}, err
}
