package pgdump

import (
	"fmt"

	"github.com/pgcourier/pgcourier/events/codes"
)

// tarFolder is where pg_dump buffers each table of a tar. It uses the C library's tmpfile, which
// ignores TMPDIR.
const tarFolder = "/tmp"

// CheckTar checks whether this process can make dumps of format tar. Its error is the Fault with which
// a request would fail.
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
