package archive_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// bigDump is a script of about 64 MiB with rows of the given length.
func bigDump(row int) []byte {
	var b bytes.Buffer
	b.WriteString(opening + "COPY s.t (a, b, c) FROM stdin;\n")
	for i := 0; b.Len() < 64<<20; i++ {
		at := b.Len()
		fmt.Fprintf(&b, "%d\t%x\t\\N\t", i, uint32(i*2654435761))
		if n := row - (b.Len() - at) - 1; n > 0 {
			b.WriteString(strings.Repeat("some text. ", n/11+1)[:n])
		}
		b.WriteByte('\n')
	}
	b.WriteString("\\.\n\n\n" + trailer)
	return b.Bytes()
}

func BenchmarkCheck(b *testing.B) {
	for _, row := range []int{20, 100, 1000} {
		dump := bigDump(row)
		b.Run(fmt.Sprintf("sql/row=%d", row), func(b *testing.B) { benchCheck(b, export.SQL, dump) })
	}
	for _, f := range formats {
		b.Run(string(f)+"/real", func(b *testing.B) { benchCheck(b, f, dumped.large[f]) })
	}
	statements := []byte(opening + strings.Repeat("ALTER TABLE ONLY app.\"some table\"\n    ADD CONSTRAINT plain_pkey CHECK (a <> 'text; text' AND b(c, 12));\n\n", 1<<18) + trailer)
	b.Run("sql/statements", func(b *testing.B) { benchCheck(b, export.SQL, statements) })
}

func benchCheck(b *testing.B, f export.Format, dump []byte) {
	b.Helper()
	b.SetBytes(int64(len(dump)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := archive.Check(bytes.NewReader(dump), f); err != nil {
			b.Fatal(err)
		}
	}
}
