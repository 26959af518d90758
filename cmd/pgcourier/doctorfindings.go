package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgcourier/pgcourier/internal/doctor"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
)

var errNoDatabase = errors.New("PGCOURIER_DATABASE_URL is not set")

const leastPrivilege = "see docs/least-privilege.md"

// silent reports whether err says that nobody answered. What is wrong with a certificate is
// an answer.
func silent(err error) bool {
	if untrusted(err) {
		return false
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno != syscall.EACCES && errno != syscall.EPERM
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded)
}

// untrusted reports whether TLS refused the other side's certificate.
func untrusted(err error) bool {
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	return verification || authority || host
}

// trouble is a finding of an error: unreachable if nobody answered, else a fault with its
// mend.
func trouble(err error, address, mend string) doctor.Finding {
	f := doctor.Finding{State: doctor.Fault, Found: err.Error(), Mend: mend}
	switch {
	case untrusted(err):
		f.Mend = "trust the authority that signed the certificate, or use the host name that it is for: " + address
	case silent(err):
		f.State, f.Mend = doctor.Unreachable, "is it running, and can this machine reach it? Its address is in "+address
	}
	return f
}

// databaseTrouble is what a connection's or a query's error means. The server's own words
// name the login and the database, and never the password.
func databaseTrouble(err error) doctor.Finding {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return trouble(err, databaseURL, "correct "+databaseURL)
	}
	f := doctor.Finding{State: doctor.Fault, Found: pg.Message + " (SQLSTATE " + pg.Code + ")"}
	switch {
	case strings.HasPrefix(pg.Code, "28"):
		f.Mend = "correct the user or the password in " + databaseURL + ", or let pg_hba.conf admit the login"
	case pg.Code == "3D000":
		f.Mend = "correct the name of the database in " + databaseURL + ", or create it"
	case pg.Code == "42501":
		f.Mend = "grant the login what it lacks: " + leastPrivilege
	case strings.HasPrefix(pg.Code, "57"), strings.HasPrefix(pg.Code, "53"), strings.HasPrefix(pg.Code, "08"):
		f.State, f.Mend = doctor.Unreachable, "look at the server's log: it takes no work now"
	default:
		f.Mend = "look at the server's log"
	}
	return f
}

// codeMends say what to do for a code that a project meets; docs/operate.md has the others.
var codeMends = map[export.Code]string{
	export.ProjectNotFound:  "no active project has this id in the control plane: correct the id or the project's row",
	export.SchemaNotAllowed: "the control plane names a schema of the server's own: correct the project's row",
	export.SchemaNotFound:   "the control plane names a schema that the database does not have: create it or correct the project's row",
	export.SourceAuthFailed: "correct the user, the password or the certificate in DATABASE_URL or in the project's dsn",
	export.SourceForbidden:  "grant the login the role (GRANT role TO login) or the role its rights: " + leastPrivilege,
	export.SourceNotFound:   "correct the database's name or address in the project's dsn",
	export.RowSecurity:      "dump as a role without policies on these tables, or with BYPASSRLS",
	export.VersionMismatch:  "install a pg_dump of the server's major version or newer (postgresql-client-N)",
}

// projectTrouble is what a Fault of a project means.
func projectTrouble(err error) doctor.Finding {
	f := export.AsFault(err)
	out := doctor.Finding{State: doctor.Fault, Found: string(f.Code) + ": " + f.Message, Mend: codeMends[f.Code]}
	if f.Code == export.InternalError { // whose words are for events
		out.Found = err.Error()
	}
	if f.Code == export.SourceUnavailable || errors.Is(err, export.ErrUnavailable) || silent(err) && !f.Code.Permanent() {
		out.State = doctor.Unreachable
		out.Mend = "is the source running, and can this machine reach it? Its address is in the project's dsn, or DATABASE_URL"
	}
	if out.Mend == "" {
		out.Mend = "see docs/operate.md for the code"
	}
	return out
}

// toolDirs are where client tools are looked for; nil: the usual places of each.
func (x *examination) toolDirs() []string {
	if x.config.PGBinDir != "" {
		return []string{x.config.PGBinDir}
	}
	return nil
}

func (x *examination) discover(tool string) []libpq.Version {
	dirs := x.toolDirs()
	if dirs == nil {
		dirs = libpq.BinDirs(tool)
	}
	return libpq.Discover(tool, dirs)
}
