package restore

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// feed is the second pass, which feeds the export into the target.
type feed struct {
	restorer *Restorer
	export   Export
	first    Evidence
	at       *place
	target   Target
	progress func(int64)
	givenUp  atomic.Bool // the script is no longer read
}

// run feeds the script, from pg_restore if the export is an archive.
func (f *feed) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends running tools
	p, err := f.export.open(ctx, f.progress)
	if err != nil {
		return err
	}
	switch {
	case f.target.Jobs > 0:
		return f.parallel(ctx, p, f.target.Jobs)
	case f.target.NoTransaction && archives[f.export.Manifest.Artifact.Format] == "":
		return f.fromFolder(ctx, p)
	case f.target.NoTransaction:
		return f.throughFolder(ctx, p)
	case f.export.Manifest.Artifact.Format == export.Directory:
		return f.throughFolder(ctx, p)
	case archives[f.export.Manifest.Artifact.Format] != "":
		return f.throughRestore(ctx, p)
	}
	return f.toPsql(ctx, p, func(feeding error) error { return f.equal(p, feeding) })
}

// equal ends the second pass and compares it with the first.
func (f *feed) equal(p *pass, feeding error) error {
	again, err := p.finish(feeding)
	if err != nil {
		return err
	}
	return again.same(f.first)
}

// throughRestore lets pg_restore, without a connection, turn the archive into a script and feeds that.
func (f *feed) throughRestore(ctx context.Context, p *pass) error {
	tool, err := chooseRestore(f.restorer.pgr, *f.export.Manifest.Artifact)
	if err != nil {
		return errors.Join(err, f.drop(p))
	}
	out, w, err := libpq.Pipe()
	if err != nil {
		return errors.Join(err, f.drop(p))
	}
	defer func() { _ = out.Close() }()
	process, in, stop, err := f.restorer.start(ctx, libpq.Command{
		Path: tool.Path, Stdout: w, Env: aloneEnvironment(),
		Args: append(restoreArguments(f.export.Manifest.Artifact.Format), "--file=-"),
	}, Reach{})
	if err = errors.Join(err, w.Close()); err != nil {
		return errors.Join(err, f.drop(p))
	}
	defer func() {
		if stop() {
			process.Terminate(f.restorer.config.KillDelay)
		}
		_ = process.Wait()
	}()
	archived := make(chan error, 1)
	go func() {
		err := f.archive(p, in)
		if err != nil {
			// pg_restore loops for ever at the end of a truncated tar archive.
			process.Terminate(f.restorer.config.KillDelay)
		}
		archived <- err
	}()
	return f.checked(ctx, out, process, func() error { return <-archived })
}

// checked feeds the script of pg_restore after a check: it may contain no psql command either. read
// waits until the archive is read and returns the error of that.
func (f *feed) checked(ctx context.Context, out io.Reader, process *libpq.Process, read func() error) error {
	written := &ending{r: out}
	return f.toPsql(ctx, archive.Readable(written), func(feeding error) error {
		fault, structural := errors.AsType[*archive.StructureError](feeding)
		if structural {
			feeding = unverified("what pg_restore makes of it is no script of a dump: %w", fault)
		}
		if feeding != nil && (!structural || !written.ended) {
			f.givenUp.Store(true)
			process.Terminate(f.restorer.config.KillDelay) // this ends the reading
			return errors.Join(feeding, ignoreSink(read()))
		}
		// The cause of a truncated script is in the exit of pg_restore.
		if err := read(); err != nil {
			return err
		}
		return cmp.Or(archiveVerdict(process), feeding)
	})
}

// ending records whether its reader returned io.EOF.
type ending struct {
	r     io.Reader
	ended bool
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.ended = e.ended || err == io.EOF
	return n, err
}

// archiveVerdict classifies the exit of pg_restore. It exits with 1 for an archive that it cannot
// read, and for faults of the machine.
func archiveVerdict(p *libpq.Process) error {
	exit := p.Wait()
	if exit == nil {
		return nil
	}
	err := fmt.Errorf("pg_restore could not read the archive: %w: %s", exit, strings.TrimSpace(p.Stderr()))
	if status, ok := errors.AsType[*exec.ExitError](exit); ok && status.ExitCode() == 1 && !ofMachine(p.Stderr()) {
		return fmt.Errorf("%w: %w", ErrUnverified, err)
	}
	return err
}

// ofMachine reports whether a line of pg_restore's messages, in the C locale, ends with a fault of the
// machine.
func ofMachine(messages string) bool {
	ends := []string{"out of memory"}
	for _, e := range []syscall.Errno{
		syscall.ENOMEM, syscall.EAGAIN, syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE,
		syscall.EIO, syscall.EPIPE, syscall.EACCES, syscall.EPERM,
	} {
		ends = append(ends, ": "+e.Error())
	}
	for line := range strings.Lines(strings.ToLower(messages)) { // Go's texts of errno are those of C in lower case
		line = strings.TrimSpace(line)
		if slices.ContainsFunc(ends, func(end string) bool { return strings.HasSuffix(line, end) }) {
			return true
		}
	}
	return false
}

// archive feeds pg_restore and compares the bytes with the first pass. pg_restore may stop reading
// before the archive's padding ends.
func (f *feed) archive(p *pass, in *os.File) error {
	_, err := io.Copy(writer{in}, p)
	if errors.Is(err, errSink) && !f.givenUp.Load() {
		_, err = io.Copy(io.Discard, p)
	}
	err = f.equal(p, err)
	return errors.Join(err, in.Close())
}

// drop ends a pass without reading its rest.
func (f *feed) drop(p *pass) error {
	_, err := p.finish(errSink)
	return ignoreSink(err)
}

func ignoreSink(err error) error {
	if errors.Is(err, errSink) {
		return nil
	}
	return err
}

// headSize is how much of a script is searched for \restrict, which follows a few lines of comment.
const headSize = 4 << 10

// toPsql feeds script to psql and commits if whole returns no error. It feeds statement by statement
// if an option needs that or the restorer has to act between statements. It calls whole once, with
// the error so far.
func (f *feed) toPsql(ctx context.Context, script io.Reader, whole func(feeding error) error) error {
	if n := f.export.Manifest.Artifact.Needs; f.target.KeepGoing || f.target.NoTransaction || f.target.placing != nil || f.target.shape || len(n.Casts)+len(n.Parents) > 0 {
		return f.stepwise(ctx, script, whole)
	}
	in := bufio.NewReaderSize(script, 256<<10)
	head, err := in.Peek(headSize)
	if err != nil && err != io.EOF { //nolint:errorlint // a short script ends here
		return whole(err)
	}
	tool, err := choosePsql(f.restorer.psql, bytes.Contains(head, []byte("\n\\restrict ")))
	if err != nil {
		return errors.Join(err, ignoreSink(whole(errSink)))
	}
	process, w, stop, err := f.restorer.start(ctx, libpq.Command{
		Path: tool.Path, Password: f.at.Password,
		Env:  f.at.source.Environment(f.at.At, f.at.Address, application, f.at.options),
		Args: []string{"--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=verbose", "--output=/dev/null", "--file=-"},
	}, Reach{Server: &f.at.At})
	if err != nil {
		return errors.Join(err, ignoreSink(whole(errSink)))
	}
	// Deferred, so that psql is terminated before its input ends. Without COMMIT the transaction
	// rolls back in either order.
	defer func() { _ = w.Close() }()
	fed := begin(writer{w}, f.at.prelude)
	if fed == nil {
		_, fed = io.Copy(writer{w}, forTarget(in, f.at))
	}
	err = whole(fed)
	if err == nil {
		err = commit(writer{w}, *f.export.Manifest.Artifact, f.first.Contents)
	}
	if err != nil && !errors.Is(err, errSink) {
		if stop() {
			process.Terminate(f.restorer.config.KillDelay)
		}
		_ = process.Wait()
		return err
	}
	_ = w.Close()
	exit := process.Wait()
	stop()
	if exit == nil && err != nil {
		return err // psql exited 0 before it read all
	}
	return f.verdict(ctx, process, exit)
}

// refusal matches the beginning of psql's report of a server's error.
var refusal = regexp.MustCompile(`(?m)^psql:<stdin>:\d+: [^:\n]+:\s+([0-9A-Z]{5}): `)

// outOfMemory is the SQLSTATE for a full shared memory, mostly because of locks.
const outOfMemory = "53200"

// scriptError is the exit status of psql after ON_ERROR_STOP.
const scriptError = 3

// verdict classifies the exit of psql.
func (f *feed) verdict(ctx context.Context, p *libpq.Process, exit error) error {
	if exit == nil {
		return nil
	}
	words := p.Stderr()
	if f.at.Password != "" {
		words = strings.ReplaceAll(words, f.at.Password, "***")
	}
	state := ""
	if m := refusal.FindAllStringSubmatch(words, -1); m != nil {
		state = m[len(m)-1][1]
	}
	f.restorer.config.Logger.WarnContext(ctx, "psql failed", "exit", exit.Error(), "sqlstate", state, "stderr", words)
	status, ok := errors.AsType[*exec.ExitError](exit)
	switch state {
	case wrongCount:
		return unverified("after the restore: %s", strings.TrimSpace(words))
	case inTheWay:
		return fmt.Errorf("%w: it has changed since it was checked: %s", ErrOccupied, strings.TrimSpace(words))
	case outOfMemory:
		return f.at.outOfLocks(ctx, f.first, errors.New(strings.TrimSpace(words)))
	}
	if ok && status.ExitCode() == scriptError && !transient(state) {
		return &RejectedError{SQLState: state, Stderr: words}
	}
	return fmt.Errorf("%w: psql: %w: %s", ErrTarget, exit, strings.TrimSpace(words))
}

func identifier(t export.Table) string { return pgx.Identifier{t.Schema, t.Name}.Sanitize() }
