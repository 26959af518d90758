package seal

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
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
	Level
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
		return nil, fmt.Errorf("start compression %q at level %q: %w", k.Compression, k.Level, err)
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

// make makes one that writes nowhere.
func (k kind) make() (compressor, error) {
	switch k.Compression {
	case Gzip:
		search, ok := gzipSearches[k.Level]
		if !ok {
			return nil, errLevel
		}
		return newGzipWriter(k.threads, search), nil
	case Zstd:
		options, ok := zstdOptions[k.Level]
		if !ok {
			return nil, errLevel
		}
		return zstd.NewWriter(io.Discard, append(options, zstd.WithEncoderConcurrency(min(k.threads, zstdThreads)))...)
	default:
		return nil, errors.New("unknown compression")
	}
}

var errLevel = errors.New("unknown level")

// zstdOptions are the settings of the levels. If the encoder is not told to compress the literals, it
// stores a block without matches as it is at its fastest level: UUIDs, hex and base64 take up to twice
// the room. SpeedBestCompression is not used: at a few MB/s an export of random digits would take
// longer than it may, and base64 takes more room than at the level Default.
var zstdOptions = map[Level][]zstd.EOption{
	Fast:    {zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(zstdWindow)},
	Default: {zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithAllLitEntropyCompression(true), zstd.WithWindowSize(zstdWindow)},
	Best:    {zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithAllLitEntropyCompression(true), zstd.WithWindowSize(zstdBestWindow)},
}

// inputs are buffers of readSize bytes for plain bytes.
var inputs = sync.Pool{New: func() any { return new([readSize]byte) }}
