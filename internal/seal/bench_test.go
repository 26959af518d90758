package seal_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/seal"
)

func BenchmarkStream(b *testing.B) {
	dump := dump(1_000_000) // about 55 MB
	id := identity(b)
	for _, c := range compressions {
		for _, encrypted := range []bool{false, true} {
			o := seal.Options{Compression: c}
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

// The cost of one recipient more is that of wrapping one key: once for each export.
func BenchmarkRecipients(b *testing.B) {
	dump := dump(1_000_000) // about 55 MB
	for _, n := range []int{1, 3, 21} {
		o := seal.Options{Compression: seal.Zstd}
		for range n {
			o.Recipients = append(o.Recipients, identity(b).Recipient())
		}
		b.Run(fmt.Sprintf("recipients=%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(dump)))
			for b.Loop() {
				s, err := seal.New(bytes.NewReader(dump), o)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(struct{ io.Writer }{io.Discard}, s); err != nil {
					b.Fatal(err)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	dump := dump(1_000_000) // about 55 MB
	for _, c := range compressions {
		o := seal.Options{Compression: c}
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
