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

// inquire finds the cause of a failed pg_dump. Its exit status is always 1 and its messages are in the
// server's language. So inquire checks, in this order: the error of the counts, the session that held
// the snapshot, and a new preflight.
func (o *opening) inquire(ctx context.Context, d *dump, exit error) error {
	d.asking.Lock() // Close must not end the session during the inquiry
	defer d.asking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, inquiryWait)
	defer cancel()

	reason := "pg_dump failed and the source shows no reason"
	if killed, ok := signalled(exit); ok {
		reason = "pg_dump was ended by signal " + killed.String()
	}
	o.config.Logger.WarnContext(ctx, "pg_dump failed", "project_id", o.job.Project.ID,
		"exit", exit.Error(), "pg_dump_version", o.version.Text, "stderr", o.redact(d.process.Stderr()))

	err := o.explainLocks(ctx, o.ask(ctx, d))
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

// ask returns the cause that the source shows, or nil.
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

// endBackend terminates the backend of a killed pg_dump. A failure is only logged: a hanging server
// cannot be reached.
func (o *opening) endBackend(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	ses, err := o.source.connect(ctx, o.names.snapshot)
	if err != nil {
		o.config.Logger.WarnContext(ctx, "the backend of a killed pg_dump could not be terminated", "error", err)
		return
	}
	defer ses.close()
	_, err = ses.conn.Exec(ctx, `
SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
 WHERE application_name OPERATOR(pg_catalog.=) $1 AND datname OPERATOR(pg_catalog.=) pg_catalog.current_database()`, o.names.dump)
	if err != nil {
		o.config.Logger.WarnContext(ctx, "the backend of a killed pg_dump could not be terminated", "error", err)
	}
}

// redact removes the password from pg_dump's stderr. No known pg_dump prints it.
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

// sqlState returns the SQLSTATE of a server's error, or "".
func sqlState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}
