package seal_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/seal"
)

// bigDump is a script of about 64 MiB whose rows are of the given length.
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
		b.Run(fmt.Sprintf("sql/row=%d", row), func(b *testing.B) { benchCheck(b, seal.SQL, dump) })
	}
	for _, f := range formats {
		b.Run(string(f)+"/real", func(b *testing.B) { benchCheck(b, f, dumped.large[f]) })
	}
	statements := []byte(opening + strings.Repeat("ALTER TABLE ONLY app.\"some table\"\n    ADD CONSTRAINT plain_pkey CHECK (a <> 'text; text' AND b(c, 12));\n\n", 1<<18) + trailer)
	b.Run("sql/statements", func(b *testing.B) { benchCheck(b, seal.SQL, statements) })
}

func benchCheck(b *testing.B, f seal.Format, dump []byte) {
	b.Helper()
	b.SetBytes(int64(len(dump)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := seal.Check(bytes.NewReader(dump), f); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStream(b *testing.B) {
	dump := bigDump(100)
	id := identity(b)
	for _, c := range compressions {
		for _, encrypted := range []bool{false, true} {
			o := seal.Options{Format: seal.SQL, Compression: c}
			if encrypted {
				o.Recipients = []age.Recipient{id.Recipient()}
			}
			b.Run(fmt.Sprintf("%s/encrypted=%t", c, encrypted), func(b *testing.B) {
				b.SetBytes(int64(len(dump)))
				b.ReportAllocs()
				buf := make([]byte, 256<<10)
				for b.Loop() {
					s, err := seal.New(bytes.NewReader(dump), o)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, s, buf); err != nil {
						b.Fatal(err)
					}
					if err := s.Close(); err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(s.Summary().StoredBytes)/float64(len(dump)), "ratio")
				}
			})
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	dump := bigDump(100)
	for _, c := range compressions {
		o := seal.Options{Format: seal.SQL, Compression: c}
		artifact, _, err := sealed(b, bytes.NewReader(dump), o)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(string(c), func(b *testing.B) {
			b.SetBytes(int64(len(dump)))
			b.ReportAllocs()
			for b.Loop() {
				r, err := seal.Open(bytes.NewReader(artifact), c, nil)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
