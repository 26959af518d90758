package pgdump

import (
	"errors"
	"fmt"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// ErrNoPgDump says that no pg_dump was found.
var ErrNoPgDump = errors.New("no pg_dump found: apt-get install --no-install-recommends postgresql-client")

// Version is one installed pg_dump.
type Version = libpq.Version

// choose picks the pg_dump for a server: of its own major version, else the nearest newer.
// Any newer one reads the server as well, but what it writes is only promised to load into
// servers as new as itself: a dump by version 17 sets transaction_timeout, which stops a
// careful restore by hand into 16.
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
