package pgdump

import (
	"os"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// stdbuf is the library of coreutils' stdbuf, where distributions put it.
const stdbuf = "/usr/libexec/coreutils/libstdbuf.so"

// outputBuffer returns the environment in which pg_dump gathers 128 KiB before it writes to its
// stdout, in place of the C library's 4 KiB for a pipe: half of what pg_dump and its reader take
// from the processor, a compressor apart, is these writes and the switches between the two.
// Measured: 64 KiB leave a tenth more of that, larger ones bring nothing. Where the library is
// missing nothing changes. client is pg_dump's major version: it returns nothing where pg_dump
// does not write through its stdout (pgversion.PlainOnStdout).
func outputBuffer(format export.Format, client int) []string {
	if format == export.SQL && !pgversion.Has(client, pgversion.PlainOnStdout) {
		return nil
	}
	if info, err := os.Stat(stdbuf); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	return []string{"LD_PRELOAD=" + stdbuf, "_STDBUF_O=131072"}
}
