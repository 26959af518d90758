package pgdump

import (
	"errors"
	"fmt"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// ErrNoPgDump means that no pg_dump was found.
var ErrNoPgDump = errors.New("no pg_dump found: apt-get install --no-install-recommends postgresql-client")

// Version is one installed pg_dump.
type Version = libpq.Version

// choose returns the pg_dump for a server: the one of its major version, else the nearest newer one.
// Every newer pg_dump can read the server, but PostgreSQL promises that its dump loads only into
// servers at least as new as pg_dump: a dump by version 17 sets transaction_timeout, which stops a
// restore with ON_ERROR_STOP into 16.
func choose(installed []Version, ses *session) (Version, error) {
	major := ses.major()
	if major < pgversion.Oldest {
		return Version{}, &export.Fault{Code: codes.VersionMismatch, Message: fmt.Sprintf(
			"the source runs PostgreSQL %s, the oldest supported is %d", printable(ses.version()), pgversion.Oldest)}
	}
	for _, v := range installed {
		if v.Major >= major {
			return v, nil
		}
	}
	return Version{}, &export.Fault{Code: codes.VersionMismatch, Message: fmt.Sprintf(
		"the source runs PostgreSQL %s, the newest pg_dump here is %s",
		printable(ses.version()), installed[len(installed)-1].Text)}
}
