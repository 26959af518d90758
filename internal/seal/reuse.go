package seal

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
)

// compressor is one that can be used again: to make its tables and buffers anew takes a small
// export longer than compressing does, and leaves a megabyte or more of garbage.
type compressor interface {
	io.WriteCloser
	Reset(w io.Writer)
}

// kind says which compressors can take each other's place.
type kind struct {
	Compression
	threads int
}

// idle holds the unused compressors, a *sync.Pool for each kind. The garbage collector
// empties them.
var idle sync.Map

// borrow returns a compressor that writes to w; giveBack takes it back.
func borrow(k kind, w io.Writer) (compressor, error) {
	if pool, ok := idle.Load(k); ok {
		if c, ok := pool.(*sync.Pool).Get().(compressor); ok {
			c.Reset(w)
			return c, nil
		}
	}
	c, err := k.make()
	if err != nil {
		return nil, fmt.Errorf("start compression %q: %w", k.Compression, err)
	}
	c.Reset(w)
	return c, nil
}

// giveBack takes a compressor that was closed without an error.
func giveBack(k kind, c compressor) {
	c.Reset(io.Discard) // it keeps no reference to its last writer
	pool, _ := idle.LoadOrStore(k, &sync.Pool{})
	pool.(*sync.Pool).Put(c) //nolint:forcetypeassert // nothing else is stored
}

// make makes one that writes nowhere: pgzip holds on to the first writer it is given.
func (k kind) make() (compressor, error) {
	switch k.Compression {
	case Gzip:
		w, err := pgzip.NewWriterLevel(io.Discard, pgzip.BestSpeed)
		return gzipWriter{w, k.threads}, err
	case Zstd:
		return zstd.NewWriter(io.Discard, zstd.WithEncoderLevel(zstd.SpeedFastest),
			zstd.WithEncoderConcurrency(min(k.threads, zstdThreads)), zstd.WithWindowSize(zstdWindow))
	default:
		return nil, errors.New("unknown compression")
	}
}

// gzipWriter keeps the size and the number of its blocks over a Reset.
type gzipWriter struct {
	*pgzip.Writer
	threads int
}

func (g gzipWriter) Reset(w io.Writer) {
	g.Writer.Reset(w)
	_ = g.SetConcurrency(gzipBlock, g.threads) // fails for what is not positive only
}

// inputs are buffers of readSize bytes for plain bytes.
var inputs = sync.Pool{New: func() any { return new([readSize]byte) }}
