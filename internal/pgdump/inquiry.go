package pgdump

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/events/codes"
)

// inquire finds out why pg_dump failed. Its exit status is 1 for everything and its words
// are in the server's language, so the source is asked, in this order: the counting that ran
// beside it, the session that held the snapshot, and a new look like the one beforehand.
func (o *opening) inquire(ctx context.Context, d *dump, exit error) error {
	d.asking.Lock() // Close waits before it ends the session
	defer d.asking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, inquiryWait)
	defer cancel()

	reason := "pg_dump failed and the source shows no reason"
	if killed, ok := signalled(exit); ok {
		reason = "pg_dump was ended by signal " + killed.String()
	}
	o.config.Logger.WarnContext(ctx, "pg_dump failed", "project_id", o.job.Project.ID,
		"exit", exit.Error(), "pg_dump_version", o.version.Text, "stderr", o.redact(d.process.Stderr()))

	err := o.ask(ctx, d)
	if cause := d.cause(); cause != nil {
		return ended(cause)
	}
	if files, ok := d.out.(*spooled); ok && err == nil && files.full() {
		return newFault(codes.SpoolUnavailable, "the worker's spool has no room left", fmt.Errorf("pg_dump: %w", exit))
	}
	if err == nil {
		return newFault(codes.DumpFailed, reason, fmt.Errorf("pg_dump: %w", exit))
	}
	f := classify(err)
	return newFault(f.Code, f.Message, fmt.Errorf("pg_dump: %w; asked afterwards: %w", exit, err))
}

// ask returns the source's reason, or nil if it has none.
func (o *opening) ask(ctx context.Context, d *dump) error {
	witness, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	if _, err := d.counts.wait(witness); err != nil && witness.Err() == nil {
		return err
	} else if err == nil {
		if err := d.session.conn.Ping(ctx); err != nil { // also after Close
			return fmt.Errorf("ask the snapshot's session: %w", err)
		}
	}
	ses, err := o.source.connect(ctx, o.names.snapshot)
	if err != nil {
		return err
	}
	defer ses.close()
	if err := ses.begin(ctx, o.job.Project.Role, o.config.LockWaitTimeout); err != nil {
		return err
	}
	now, err := ses.examine(ctx, o.job.Schemas)
	if err != nil {
		return err
	}
	h, err := ses.lockInTheWay(ctx, now.schemas)
	if h != nil {
		return h.fault(errLockWait)
	}
	if err == nil {
		err = ses.locksMissing(ctx, now.relations)
	}
	if err == nil {
		err = ses.rowTooLarge(ctx, now)
	}
	return err
}

// endBackend ends the server's side of a pg_dump that had to be killed. It is an attempt: a
// server that hangs cannot be told anything.
func (o *opening) endBackend(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	ses, err := o.source.connect(ctx, o.names.snapshot)
	if err != nil {
		o.config.Logger.WarnContext(ctx, "backend of a killed pg_dump left to the server", "error", err)
		return
	}
	defer ses.close()
	_, err = ses.conn.Exec(ctx, `
SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
 WHERE application_name OPERATOR(pg_catalog.=) $1`, o.names.dump)
	if err != nil {
		o.config.Logger.WarnContext(ctx, "backend of a killed pg_dump left to the server", "error", err)
	}
}

// redact takes the password out of what pg_dump wrote. It knows no reason to print it.
func (o *opening) redact(text string) string {
	if o.session.Password == "" {
		return text
	}
	return strings.ReplaceAll(text, o.session.Password, "***")
}

func signalled(exit error) (syscall.Signal, bool) {
	e, ok := errors.AsType[*exec.ExitError](exit)
	if !ok {
		return 0, false
	}
	status, ok := e.Sys().(syscall.WaitStatus)
	return status.Signal(), ok && status.Signaled()
}

// sqlState is the code of a server's error, or "".
func sqlState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}
