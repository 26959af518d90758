package seal_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/pgcourier/pgcourier/internal/seal"
)

// What used a compressor before, and how that ended, leaves no trace in what uses it next: each
// artifact is the same as the first of its dump, made when nothing had been used.
func TestWhatIsUsedAgainRemembersNothing(t *testing.T) {
	t.Parallel()
	const rounds, sideBySide = 60, 4
	for _, c := range compressions {
		t.Run(string(c), func(t *testing.T) {
			t.Parallel()
			o := seal.Options{Format: seal.SQL, Compression: c, Concurrency: 3} // nobody else's
			plains, first := [][]byte{dumped.rich[seal.SQL], copies(2000, "one"), copies(200_000, "two")}, [][]byte(nil)
			for _, p := range plains {
				b, _, err := sealed(t, bytes.NewReader(p), o)
				if err != nil {
					t.Fatal(err)
				}
				first = append(first, b)
			}
			var all sync.WaitGroup
			for n := range sideBySide {
				all.Go(func() {
					random := rand.New(rand.NewPCG(uint64(n), 7))
					for range rounds {
						i := random.IntN(len(plains))
						if cut := random.IntN(len(plains[i])); cut%3 == 0 { // it fails, or is given up
							s, err := seal.New(io.MultiReader(bytes.NewReader(plains[i][:cut]), iotest.ErrReader(errBoom)), o)
							if err != nil {
								t.Error(err)
								return
							}
							_, _ = io.CopyN(io.Discard, s, int64(cut/2))
							_ = s.Close()
							continue
						}
						if b, _, err := sealed(t, bytes.NewReader(plains[i]), o); err != nil || !bytes.Equal(b, first[i]) {
							t.Errorf("dump %d: %d bytes, %v; want the first artifact again, %d bytes", i, len(b), err, len(first[i]))
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// copies is a dump of a table with so many rows.
func copies(rows int, word string) []byte {
	var b bytes.Buffer
	b.WriteString("--\n-- PostgreSQL database dump\n--\n\nCREATE SCHEMA s;\nCREATE TABLE s.t (a int, b text);\nCOPY s.t (a, b) FROM stdin;\n")
	for i := range rows {
		fmt.Fprintf(&b, "%d\t%s %d\n", i, word, i*i)
	}
	b.WriteString("\\.\n\n\n--\n-- PostgreSQL database dump complete\n--\n\n")
	return b.Bytes()
}
