package pgdump_test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/libpq"
	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/pgversion"
)

// buffered says whether this dump's pg_dump gets a large stdout buffer in the C library: coreutils'
// library for stdbuf is installed, and pg_dump writes through stdout. From version 16 on it does so
// for archives only.
func buffered(d export.Dump, f export.Format) bool {
	_, err := os.Stat("/usr/libexec/coreutils/libstdbuf.so")
	client := libpq.LeadingNumber(d.Info().PgDumpVersion)
	return err == nil && (f == export.Custom || pgversion.Has(client, pgversion.PlainOnStdout))
}

// Output through the C library's stdout is written in pieces of 128 KiB instead of 4 KiB. That is
// every archive, and plain text by pg_dump 15 and older: newer versions write it through another
// stream, in small pieces.
func TestADumpIsWrittenInLargePieces(t *testing.T) {
	t.Parallel()
	const leastOfLarge, mostOfSmall = 64 << 10, 8 << 10
	dsn := database(t, cluster, large)
	for _, format := range []export.Format{export.SQL, export.Custom} {
		dump := open(t, pgdump.Config{}, job(dsn, format, "big"))
		read(t, dump, 8<<20)
		writes, written := written(t, pgdump.ProcessID(dump))
		mean, want := written/max(writes, 1), buffered(dump, format)
		if written < 8<<20 || want && mean < leastOfLarge || !want && mean > mostOfSmall {
			t.Errorf("%s by pg_dump %s: %d bytes in %d writes; large pieces: %t",
				format, dump.Info().PgDumpVersion, written, writes, want)
		}
	}
}

// written is the number of writes and bytes of a process.
func written(t *testing.T, pid int) (writes, bytesWritten int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for line := range bytes.Lines(b) {
		name, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(": "))
		if count[string(name)], err = strconv.Atoi(string(value)); err != nil {
			t.Fatal(err)
		}
	}
	return count["syscw"], count["wchar"]
}
