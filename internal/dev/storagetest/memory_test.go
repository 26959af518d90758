package storagetest_test

import (
	"testing"

	"github.com/pgcourier/pgcourier/internal/dev/storagetest"
)

// The suite's own driver keeps the contract, so the Repository is tested in parts too.
func TestMemory(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{2048, 5000} {
		storagetest.Run(t, 1000, func(*testing.T) storagetest.Destination {
			return storagetest.NewMemory(size).Destination()
		})
	}
}

func TestMemoryWithTombstones(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, 10, func(*testing.T) storagetest.Destination {
		m := storagetest.NewMemory(3000)
		m.Freeze()
		return m.Destination()
	})
}
