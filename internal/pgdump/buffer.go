package pgdump

import (
	"os"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// stdbuf is the path of the library of coreutils' stdbuf in distributions.
const stdbuf = "/usr/libexec/coreutils/libstdbuf.so"

// outputBuffer returns the environment that gives pg_dump a stdout buffer of 128 KiB instead of the C
// library's 4 KiB for a pipe. Without compression, half of the CPU time of pg_dump and its reader
// goes to these writes and context switches. Measured: 64 KiB save a tenth less, larger buffers no
// more. If the library is missing, pg_dump keeps its buffer. client is pg_dump's major version:
// outputBuffer returns nothing if that pg_dump does not write through stdout
// (pgversion.PlainOnStdout).
func outputBuffer(format export.Format, client int) []string {
	if format == export.SQL && !pgversion.Has(client, pgversion.PlainOnStdout) {
		return nil
	}
	if info, err := os.Stat(stdbuf); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	return []string{"LD_PRELOAD=" + stdbuf, "_STDBUF_O=131072"}
}
