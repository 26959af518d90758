package export

import (
	"errors"
	"io"

	"github.com/pgcourier/pgcourier/events/codes"
)

// ErrNewerFormat says that a dump is of a version of its format that is newer than any known:
// a newer pg_dump wrote it.
var ErrNewerFormat = errors.New("the format is newer than any known")

// UnreadableError says that a script is as pg_dump writes it, and that psql cannot read it back.
type UnreadableError struct {
	Object string // the first that it cannot read, as the script names it
}

func (e *UnreadableError) Error() string { return "psql cannot read " + e.Object }

// Inspector checks the structure of one dump while it is written to it, and counts its rows.
type Inspector interface {
	// Write takes the next piece. Its error says what is not as pg_dump writes it; it wraps
	// ErrNewerFormat if the format cannot be read at all.
	io.Writer
	// Table is the table of which rows are written now; zero between tables. It is safe for
	// concurrent use.
	Table() Table
	// Finish returns what the dump holds, or an error when it may not end here.
	Finish() (Contents, error)
}

// inspection is the exporter's verdict on a dump, as the seal asks for it: the structure is
// whole, and verify agrees with the contents.
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
	return &Fault{Code: codes.DumpIncomplete, Message: "the dump's structure is not whole", Err: err}
}
