package pgdump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"sync"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// memberPart is the part of a group dump for one member. It must be opened or released.
type memberPart struct {
	dumper  *GroupDumper
	spool   *groupSpool // held
	part    *archive.Part
	format  export.Format
	restore Version
	rows    map[export.Table]int64
	info    export.DumpInfo
}

func (s *memberPart) release() { s.spool.release() }

// open returns the member's Dump, which releases the part when it is closed.
func (s *memberPart) open(ctx context.Context) (export.Dump, error) {
	c := s.dumper.config.Dumper.config
	ctx, cancel := context.WithCancelCause(ctx)
	d := &memberDump{
		memberPart: s, cancel: cancel, cause: func() error { return context.Cause(ctx) },
		watch: &watch{limit: c.Timeout, stall: c.Stall},
	}
	if s.format == export.Custom {
		d.archive = s.part.Open()
		return d, nil
	}
	if err := d.start(); err != nil {
		cancel(errClosed)
		return nil, newFault(codes.InternalError, "pg_restore could not be started", err)
	}
	d.ended.Go(func() {
		select {
		case <-d.process.Exited():
		case <-ctx.Done():
			d.process.Terminate(c.KillDelay)
		}
	})
	d.ended.Go(func() { d.watch.run(ctx, nil, cancel) })
	return d, nil
}

// memberDump is the dump of a member: its part of the group's archive, or the script that pg_restore
// makes of it. The group's pg_dump has exited 0.
type memberDump struct {
	*memberPart
	archive io.Reader // custom
	process *libpq.Process
	out     *os.File
	fed     chan error // receives the error of feeding pg_restore
	watch   *watch
	cancel  context.CancelCauseFunc
	cause   func() error // why the dump was cancelled; nil: it was not

	ended sync.WaitGroup
	bytes int64
	err   error // what Read returns from now on
	once  sync.Once
}

var _ export.Dump = (*memberDump)(nil)

// start runs pg_restore, without a connection, between two pipes.
func (d *memberDump) start() error {
	in, feed, err := libpq.Pipe()
	if err != nil {
		return err
	}
	out, script, err := libpq.Pipe()
	if err != nil {
		return errors.Join(err, in.Close(), feed.Close())
	}
	d.process, err = libpq.StartProcess(libpq.Command{
		Path: d.restore.Path, Stdin: in, Stdout: script,
		Env: []string{"LC_ALL=C", "TZ=UTC", "HOME=/nonexistent", "PGPASSFILE=/dev/null"},
		// The script leaves out the archive's owners and tablespaces.
		Args: []string{"--format=custom", "--no-owner", "--no-acl", "--no-tablespaces", "--exit-on-error", "--file=-"},
	})
	if err = errors.Join(err, in.Close(), script.Close()); err != nil {
		return errors.Join(err, feed.Close(), out.Close())
	}
	d.out, d.fed = out, make(chan error, 1)
	d.ended.Go(func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{feed}, d.part.Open(), make([]byte, spoolBuffer))
		d.fed <- errors.Join(err, feed.Close())
	})
	return nil
}

// Info implements export.Dump. It is the state at the start of the group dump.
func (d *memberDump) Info() export.DumpInfo { return d.info }

// Rows returns the member's rows, counted in the snapshot of the group dump.
func (d *memberDump) Rows(context.Context) (map[export.Table]int64, error) {
	return maps.Clone(d.rows), nil
}

// Read returns the member's dump, and io.EOF only after pg_restore exited 0.
func (d *memberDump) Read(p []byte) (int, error) {
	if d.err != nil || len(p) == 0 {
		return 0, d.err
	}
	if cause := d.cause(); cause != nil {
		d.err = ended(cause)
		return 0, d.err
	}
	if d.archive != nil {
		n, err := d.archive.Read(p)
		if err != nil && !errors.Is(err, io.EOF) {
			err = newFault(codes.InternalError, "the spool of a group could not be read", err)
		}
		d.err = err
		return n, err
	}
	d.watch.begin()
	n, err := d.out.Read(p)
	if n > 0 {
		d.watch.end(true)
		d.bytes += int64(n)
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		d.cancel(fmt.Errorf("read from pg_restore: %w", err))
	}
	<-d.process.Exited()
	d.watch.end(false)
	d.err = d.verdict()
	return 0, d.err
}

// verdict returns the error of the script after the exit of pg_restore.
func (d *memberDump) verdict() error {
	if cause := d.cause(); cause != nil {
		return ended(cause)
	}
	fed := <-d.fed
	switch exit := d.process.Wait(); {
	case exit != nil:
		return newFault(codes.DumpFailed, "pg_restore could not make a script of the project's archive",
			fmt.Errorf("pg_restore: %w: %s", exit, d.process.Stderr()))
	case fed != nil:
		return newFault(codes.DumpFailed, "pg_restore did not take the project's archive to its end", fed)
	case d.bytes == 0:
		return newFault(codes.DumpIncomplete, "pg_restore reported success and wrote nothing", nil)
	}
	return io.EOF
}

// Close ends a running pg_restore and releases the spool.
func (d *memberDump) Close() error {
	d.once.Do(func() {
		d.cancel(errClosed)
		if d.process != nil {
			<-d.process.Exited()
			d.ended.Wait()
			_ = d.out.Close() // read end: nothing is lost
		}
		d.release()
	})
	return nil
}
