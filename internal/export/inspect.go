package export

import (
	"errors"
	"io"

	"github.com/pgcourier/pgcourier/events/codes"
)

// ErrNewerFormat says that a newer pg_dump wrote the dump, in a version of its format that is not
// known.
var ErrNewerFormat = errors.New("the format is newer than any known")

// UnreadableError says that pg_dump wrote the script as it should, but psql cannot read it back.
type UnreadableError struct {
	Object string // the first that psql cannot read, as the script names it
}

func (e *UnreadableError) Error() string { return "psql cannot read " + e.Object }

// Inspector checks the structure of one dump that is written to it, and counts its rows.
type Inspector interface {
	// Write checks the next piece. Its error says which structure is not pg_dump's; it wraps
	// ErrNewerFormat if the format cannot be read at all.
	io.Writer
	// Table returns the table of the current rows; zero between tables. It is safe for concurrent use.
	Table() Table
	// Finish returns the contents of the dump, or an error if the dump may not end here.
	Finish() (Contents, error)
}

// inspection is the exporter's check of a dump for the seal: the structure is complete, and verify
// accepts the contents.
type inspection struct {
	inspector Inspector
	verify    func(Contents) error
	contents  Contents // once finished
}

func (i *inspection) Write(p []byte) (int, error) {
	n, err := i.inspector.Write(p)
	return n, notWhole(err)
}

func (i *inspection) Finish() error {
	c, err := i.inspector.Finish()
	if err != nil {
		return notWhole(err)
	}
	i.contents = c
	return i.verify(c)
}

func notWhole(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrNewerFormat) {
		return &Fault{Code: codes.VersionMismatch, Message: "pg_dump wrote an archive of a version that this worker does not know: ask for format sql, or update pgcourier", Err: err}
	}
	if u, ok := errors.AsType[*UnreadableError](err); ok {
		return &Fault{Code: codes.ScriptUnreadable, Message: "psql cannot read the script of " + u.Object +
			" back, because something there is named begin: ask for format custom, or rename it", Err: err}
	}
	return &Fault{Code: codes.DumpIncomplete, Message: "the dump's structure is incomplete", Err: err}
}
