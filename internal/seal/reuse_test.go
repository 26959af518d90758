package seal_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"

	"filippo.io/age"

	"github.com/pgcourier/pgcourier/internal/seal"
)

// The previous use of a compressor or a buffer, and its end, have no effect on the next use, while
// others use theirs concurrently: each artifact holds its own dump.
func TestReusedStateKeepsNothing(t *testing.T) {
	t.Parallel()
	const rounds, sideBySide = 60, 4
	plains := [][]byte{some, dump(1000), dump(100_000)}
	for _, c := range compressions {
		t.Run(string(c), func(t *testing.T) {
			t.Parallel()
			id := identity(t)
			var all sync.WaitGroup
			for n := range sideBySide {
				all.Go(func() {
					random := rand.New(rand.NewPCG(uint64(n), 7))
					for range rounds {
						// No other test compresses with so many goroutines.
						o := seal.Options{Compression: c, Concurrency: 3}
						var ids []age.Identity
						if random.IntN(2) == 0 {
							o.Recipients, ids = []age.Recipient{id.Recipient()}, []age.Identity{id}
						}
						plain := plains[random.IntN(len(plains))]
						if random.IntN(3) == 0 {
							giveUp(t, plain[:random.IntN(len(plain))], o)
							continue
						}
						b, sum, err := sealed(t, bytes.NewReader(plain), o)
						if err != nil {
							t.Error(err)
							continue
						}
						if got, err := unseal(b, o, ids...); err != nil || !bytes.Equal(got, plain) || sum.PlainBytes != int64(len(plain)) {
							t.Errorf("sealed %d bytes, opened %d others: %v", len(plain), len(got), err)
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// giveUp seals a dump that fails, and closes the stream while it is read.
func giveUp(t *testing.T, plain []byte, o seal.Options) {
	t.Helper()
	s, err := seal.New(io.MultiReader(bytes.NewReader(plain), iotest.ErrReader(errBoom)), o)
	if err != nil {
		t.Error(err)
		return
	}
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(io.Discard, s) })
	_, _ = io.CopyN(io.Discard, bytes.NewReader(plain), int64(len(plain))) // so long it may read
	_ = s.Close()
	reading.Wait()
}
