package pgdump

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// class is the meaning of a SQLSTATE for a dump.
type class struct {
	state   string // a code, or the first characters of several
	code    codes.Code
	message string
}

// classes is the table of all SQLSTATEs; the first match counts. A code that is not here is DumpFailed,
// which is retried.
var classes = []class{
	// Permanent: a retry cannot help.
	{"28", codes.SourceAuthFailed, "the source refuses the login"}, // 28P01 password, 28000 pg_hba.conf
	{"3D000", codes.SourceNotFound, "the source database does not exist"},
	{"57P04", codes.SourceNotFound, "the source database was dropped"},
	{"42501", codes.SourceForbidden, "the login or role lacks a right"},
	{"XX001", codes.SourceCorrupt, "the source's data is corrupted"}, // a damaged page
	{"XX002", codes.SourceCorrupt, "an index of the source is corrupted"},
	{"22021", codes.SourceCorrupt, "the source holds text that breaks its encoding"},
	{"22P05", codes.SourceCorrupt, "the source holds text that UTF-8 cannot express"},

	// Transient.
	{"55P03", codes.LockTimeout, "another session holds a table for too long"},
	{"40", codes.SourceUnavailable, "the source ended the transaction"},           // 40001 recovery conflict, 40P01 deadlock
	{"25P0", codes.SourceUnavailable, "the source ended the transaction"},         // 25P03, 25P04: its timeouts
	{"42P01", codes.SourceUnavailable, "a table vanished while the dump began"},   // dropped between listing and locking
	{"3F000", codes.SourceUnavailable, "a schema vanished while the dump began"},  // the same; a missing one is found by name
	{"57P03", codes.SourceUnavailable, "the source does not accept logins now"},   // starting, stopping, recovering
	{"57", codes.SourceUnavailable, "the source ended the session"},               // 57P01 shutdown or pg_terminate_backend, 57014 cancel
	{"53", codes.SourceUnavailable, "the source is out of connections or memory"}, // 53300 and its kin
	{"08", codes.SourceUnavailable, "the connection to the source was lost"},
	{"58", codes.SourceUnavailable, "the source met an error of its own system"}, // 58030 input/output
	{"F0", codes.SourceUnavailable, "the source's configuration file is at fault"},
}

func newFault(code codes.Code, message string, err error) *export.Fault {
	return &export.Fault{Code: code, Message: message, Err: err}
}

// classify turns an error of the source into a Fault. It returns a Fault unchanged. The message does
// not contain the server's text, which may quote data.
func classify(err error) *export.Fault {
	if f, ok := errors.AsType[*export.Fault](err); ok {
		return f
	}
	if closed(err) {
		return newFault(codes.SourceForbidden, "the source database takes no connections (ALLOW_CONNECTIONS is false)", err)
	}
	if refusal, ok := errors.AsType[*pgconn.PgError](err); ok {
		for _, c := range classes {
			if strings.HasPrefix(refusal.Code, c.state) {
				return newFault(c.code, c.message, err)
			}
		}
		return newFault(codes.DumpFailed, fmt.Sprintf("the source answered with SQLSTATE %.5s", printable(refusal.Code)), err)
	}
	if untrusted(err) {
		return newFault(codes.SourceAuthFailed, "the source's certificate is not trusted", err)
	}
	if errors.Is(err, libpq.ErrNoTLS) {
		return newFault(codes.SourceAuthFailed, "the source does not speak TLS, which its settings demand", err)
	}
	if errors.Is(err, secret.ErrCommand) {
		return newFault(codes.SourceUnavailable, "the password command gave no password for the source", err)
	}
	if errors.Is(err, libpq.ErrDSN) {
		return newFault(codes.SourceNotFound, "the source's address cannot be used", err)
	}
	// Refused, unreachable, unknown host, connection lost, or no server that satisfies
	// target_session_attrs.
	return newFault(codes.SourceUnavailable, "the source cannot be reached", err)
}

// untrusted reports whether TLS refused the server's certificate. With verify-ca pgx does the check, so
// errors of x509 may come unwrapped.
func untrusted(err error) bool {
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	return verification || authority || host || invalid
}

// The causes with which a dump cancels itself.
var (
	errTimeout = errors.New("the dump's time is used up")
	errStalled = errors.New("the dump makes no progress")
	// errClosed is the early Close of a reader. It is not a failure.
	errClosed = errors.New("dump closed")
)

// ended turns the cause of a cancelled context into the error of the dump. Timeout and stall become
// Faults; a cause of the caller, such as export.ErrSuperseded, is returned unchanged.
func ended(cause error) error {
	switch {
	case errors.Is(cause, errTimeout):
		return newFault(codes.DumpTimeout, "the dump took longer than it may", cause)
	case errors.Is(cause, errStalled):
		return newFault(codes.DumpStalled, "the source sent nothing for too long", cause)
	}
	return fmt.Errorf("dump ended: %w", cause)
}

// fail returns the error of a step under ctx: the cause of ctx if ctx has ended, else the classified
// error of the source.
func fail(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ended(context.Cause(ctx))
	}
	return classify(err)
}
