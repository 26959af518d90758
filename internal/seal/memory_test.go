package seal_test

import (
	"errors"
	"runtime"
	"testing"

	"github.com/pgcourier/pgcourier/internal/seal"
)

// TestMemoryStaysBounded is not parallel: it looks at the whole heap, after a collection,
// while a dump goes through that is larger than what is allowed.
func TestMemoryStaysBounded(t *testing.T) {
	const size, allowed = 48 << 20, 20 << 20 // bytes; two goroutines' zstd takes the most, 12 MiB
	var mem runtime.MemStats
	for _, k := range []struct {
		c     seal.Compression
		level seal.Level
	}{{seal.Gzip, ""}, {seal.Zstd, ""}, {seal.Plain, ""}, {seal.Zstd, seal.Best}} {
		c := k.c
		runtime.GC()
		runtime.ReadMemStats(&mem)
		before, peak, read := mem.HeapAlloc, uint64(0), 0
		src := readerFunc(func(p []byte) (int, error) {
			if n, err := endless(p); read+n < size {
				if read>>23 != (read+n)>>23 { // each 8 MiB
					runtime.GC()
					runtime.ReadMemStats(&mem)
					peak = max(peak, mem.HeapAlloc)
				}
				read += n
				return n, err
			}
			return 0, errBoom
		})
		s, err := seal.New(src, seal.Options{Compression: c, Level: k.level, Concurrency: 2})
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 64<<10)
		for err == nil {
			_, err = s.Read(buf)
		}
		if !errors.Is(err, errBoom) || read < size-1<<20 {
			t.Errorf("%s: %v after %d bytes", c, err, read)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		grown := max(peak, before) - before
		t.Logf("%s %s: %d KiB", c, k.level, grown>>10)
		if grown > allowed {
			t.Errorf("%s: %d bytes on the heap at most, want at most %d", c, grown, allowed)
		}
	}
}
