package pgdump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

// dump is a running pg_dump and the session that holds its snapshot. Only one goroutine may call Read;
// the other methods are safe for concurrent use.
type dump struct {
	info    export.DumpInfo
	process *process
	out     io.ReadCloser
	session *session
	watch   *watch
	counts  *counts

	cancel  context.CancelCauseFunc // ends the dump
	cause   func() error            // why the dump was cancelled; nil: it was not
	inquire func(exit error) error  // finds the cause of a failed pg_dump
	silence context.CancelFunc      // ends an inquiry
	unclean func(error)             // logs that files are left; not an error of the dump

	ended  sync.WaitGroup // the supervisor and the clock
	asking sync.Mutex     // held while an inquiry uses the session
	bytes  int64
	err    error       // what Read returns from now on
	whole  atomic.Bool // Read returned io.EOF
	many   bool        // too many tables for the session to be kept

	locked    chan struct{} // closed once pg_dump has all its locks, or has ended
	lockOnce  sync.Once
	closeOnce sync.Once
}

var _ export.Dump = (*dump)(nil)

// begin starts the goroutines beside the dump. They end with the dump, or by Close.
func (d *dump) begin(ctx context.Context, o *opening) {
	after, silence := context.WithCancel(context.WithoutCancel(ctx))
	ctx, d.cancel = context.WithCancelCause(ctx)
	d.cause = func() error { return context.Cause(ctx) }
	d.silence = silence
	d.unclean = func(err error) {
		o.config.Logger.WarnContext(after, "the files of a dump could not be removed, the next worker removes them", "error", err)
	}
	d.inquire = func(exit error) error { return o.inquire(after, d, exit) }
	d.many = len(o.survey.relations) > warmTables
	d.ended.Go(func() {
		select {
		case <-d.process.Exited():
		case <-ctx.Done():
			if d.process.Terminate(o.config.KillDelay) {
				o.endBackend(after)
			}
		}
	})
	var moved func() bool
	if o.job.Format == export.Tar {
		moved = growth(d.process)
	}
	var turn *trail
	if files, ok := d.out.(*spooled); ok {
		files.follow(d.cancel)
		moved = files.grown
		turn = &trail{exited: d.process.Exited(), dumped: files.dumped, behind: o.jobs}
	}
	d.counts = d.session.count(ctx, o.survey, turn, d.locked)
	d.ended.Go(func() { d.watch.run(ctx, moved, d.cancel) })
	d.ended.Go(func() { o.followLocks(ctx, d) })
	log := o.config.Logger.With("project_id", o.job.Project.ID)
	d.ended.Go(func() { tellSilence(ctx, log, d.watch.silence, o.obstacle) })
}

// growth returns a function that reports whether the process has written anything since its last call.
func growth(p *process) func() bool {
	var last int64
	return func() bool {
		select {
		case <-p.Exited(): // its process id may be reused
			return false
		default:
		}
		n, err := p.written()
		grown := err == nil && n > last
		last = max(last, n)
		return grown
	}
}

// Info implements export.Dump. It is the state at the start of the dump.
func (d *dump) Info() export.DumpInfo { return d.info }

// Read returns the output of pg_dump, and io.EOF only after pg_dump exited 0.
func (d *dump) Read(p []byte) (int, error) {
	if d.err != nil || len(p) == 0 {
		return 0, d.err
	}
	d.watch.begin()
	n, err := d.out.Read(p)
	// pg_dump writes nothing before it has locked all tables.
	d.lockOnce.Do(func() { close(d.locked) })
	if n > 0 {
		d.watch.end(true)
		d.bytes += int64(n)
		return n, nil
	}
	// The exit status decides whether the dump is complete, not the end of the pipe. The clock
	// continues: a process can close its stdout and keep running.
	if !errors.Is(err, io.EOF) {
		d.cancel(fmt.Errorf("read from pg_dump: %w", err))
	}
	<-d.process.Exited()
	d.watch.end(false)
	d.err = d.verdict()
	return 0, d.err
}

// verdict returns the error of the dump after the exit of pg_dump. A cancelled dump is never complete,
// for any exit status.
func (d *dump) verdict() error {
	if cause := d.cause(); cause != nil {
		return ended(cause)
	}
	switch {
	case d.process.Wait() != nil:
		return d.inquire(d.process.Wait())
	case d.bytes == 0: // the dump of an empty schema has a header too
		return newFault(codes.DumpIncomplete, "pg_dump reported success and wrote nothing", nil)
	}
	d.whole.Store(true)
	return io.EOF
}

// Rows waits for the counts, bounded by the dump's Timeout. The stall timeout does not apply: one query
// counts a table of any size and shows no progress.
func (d *dump) Rows(ctx context.Context) (map[export.Table]int64, error) {
	d.watch.beginSilent()
	defer d.watch.endSilent()
	return d.counts.wait(ctx)
}

// Close kills a running pg_dump, waits for its end and releases the snapshot. An early Close is not an
// error.
func (d *dump) Close() error {
	d.closeOnce.Do(func() {
		d.cancel(errClosed)
		d.silence()
		<-d.process.Exited()
		d.ended.Wait()
		<-d.counts.done
		if err := d.out.Close(); err != nil {
			d.unclean(err)
		}
		d.asking.Lock()
		defer d.asking.Unlock()
		if d.whole.Load() && d.counts.err == nil && !d.many {
			d.session.rest()
		} else {
			d.session.close()
		}
	})
	return nil
}

// inquiryWait bounds the search for the cause of a failure.
const inquiryWait = 15 * time.Second
