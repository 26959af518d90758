package pgdump_test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/pgcourier/pgcourier/internal/pgdump"
	"github.com/pgcourier/pgcourier/internal/seal"
)

// buffered says whether coreutils' library for stdbuf is installed.
func buffered() bool {
	_, err := os.Stat("/usr/libexec/coreutils/libstdbuf.so")
	return err == nil
}

// What streams is written in pieces of 128 KiB, not of the C library's 4 KiB.
func TestADumpIsWrittenInLargePieces(t *testing.T) {
	t.Parallel()
	least := 64 << 10
	if !buffered() {
		least = 2 << 10 // the C library's own
	}
	dsn := database(t, cluster, large)
	for _, format := range []seal.Format{seal.SQL, seal.Custom} {
		dump := open(t, pgdump.Config{}, job(dsn, format, "big"))
		read(t, dump, 8<<20)
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pgdump.ProcessID(dump)))
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
		if writes, written := count["syscw"], count["wchar"]; written < 8<<20 || writes > written/least {
			t.Errorf("%s: %d bytes in %d writes", format, written, writes)
		}
	}
}
