package pgdump

import (
	"fmt"

	"github.com/pgcourier/pgcourier/events/codes"
)

// tarFolder is where pg_dump keeps each table of a tar until it has all of it, whatever TMPDIR
// says: the C library's tmpfile.
const tarFolder = "/tmp"

// CheckTar finds out whether this process can make dumps of format tar. The error is the Fault
// that a request would meet.
func CheckTar() error { return checkTar(tarFolder) }

func checkTar(folder string) error {
	f, err := unnamed(folder)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return newFault(codes.FormatUnavailable, fmt.Sprintf("format tar needs a folder %s that the worker may write to: make it writable there, or ask for another format", folder), err)
	}
	return nil
}
