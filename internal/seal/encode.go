package seal

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"filippo.io/age"
)

const (
	// gzipBlock is what one goroutine compresses at a time. Measured: 256 KiB blocks
	// keep both cores of a small machine busy, 1 MiB blocks cost half as much again.
	gzipBlock = 256 << 10
	// zstdWindow bounds how far back zstd looks. Measured: rows compress as well with it
	// as with the library's 4 MiB, which take ten times the memory.
	zstdWindow = 256 << 10
	// zstdThreads are one that compresses and one that writes, 500 MB/s, more than pg_dump
	// gives. Blocks side by side would be half as fast again and take 13 MiB instead of 3.
	zstdThreads = 2
	// maxConcurrency bounds the compressors' memory by default. Four goroutines compress
	// about 1 GB/s, more than pg_dump writes.
	maxConcurrency = 4
	// holdBack is how many of the last sealed bytes stay back until the stream is known
	// to be whole. Without compression and encryption nothing else keeps the bytes of a
	// dump that failed at its very end from being a whole one.
	holdBack = 64
)

// CRC32C goes on with a CRC-32C (Castagnoli), which begins as 0. Processors compute it
// themselves: 8 GB/s where SHA-256 is 1.6 GB/s.
func CRC32C(crc uint32, p []byte) uint32 {
	return crc32.Update(crc, crc32.MakeTable(crc32.Castagnoli), p) // made once
}

// sink is where sealed bytes arrive: it hashes and counts them and keeps them for Read.
// Compressors write to it from goroutines of their own.
type sink struct {
	mu    sync.Mutex
	buf   []byte
	start int // of what was not taken yet
	dead  bool
	hash  hash.Hash
	crc   uint32
	n     atomic.Int64
}

// Write keeps p. A dead sink drops it and still reports success: pgzip ends its
// goroutines on Close only if no write failed.
func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return len(p), nil
	}
	if s.start > 0 {
		s.buf = s.buf[:copy(s.buf, s.buf[s.start:])]
		s.start = 0
	}
	s.hash.Write(p)
	s.crc = CRC32C(s.crc, p)
	s.buf = append(s.buf, p...)
	s.n.Add(int64(len(p)))
	return len(p), nil
}

// take moves bytes to p, all but the last keep.
func (s *sink) take(p []byte, keep int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	if ready := len(s.buf) - keep; ready > s.start {
		n = copy(p, s.buf[s.start:ready])
		s.start += n
	}
	return n
}

// kill drops what is kept and all that follows.
func (s *sink) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead, s.buf, s.start = true, nil, 0
}

// encoder is the compressor and the encryption in front of a sink.
type encoder struct {
	io.Writer             // where the dump's bytes go
	closers   []io.Closer // outermost first
	sink      *sink
	closed    bool

	compressor compressor // nil: none, or given back
	kind       kind
}

func newEncoder(o Options) (*encoder, error) {
	e := &encoder{sink: &sink{hash: sha256.New()}}
	e.Writer = e.sink
	if len(o.Recipients) > 0 {
		w, err := age.Encrypt(e.sink, o.Recipients...)
		if err != nil {
			return nil, fmt.Errorf("encrypt: %w", err)
		}
		e.push(w)
	}
	threads := o.Concurrency
	if threads == 0 {
		threads = min(runtime.GOMAXPROCS(0), maxConcurrency)
	}
	if o.Compression == Plain {
		return e, nil
	}
	var err error
	e.kind = kind{o.Compression, threads}
	if e.compressor, err = borrow(e.kind, e.Writer); err != nil {
		return nil, err
	}
	e.push(e.compressor)
	return e, nil
}

func (e *encoder) push(w io.WriteCloser) {
	e.Writer = w
	e.closers = append([]io.Closer{w}, e.closers...)
}

// finish closes the encoders in their order, which gives the artifact its valid end.
func (e *encoder) finish() error {
	e.closed = true
	for _, c := range e.closers {
		if err := c.Close(); err != nil {
			return fmt.Errorf("end the encoded stream: %w", err)
		}
	}
	if e.compressor != nil {
		giveBack(e.kind, e.compressor)
		e.compressor = nil
	}
	return nil
}

// abort ends the encoders' goroutines without an end of the artifact: whatever they still
// write is dropped.
func (e *encoder) abort() {
	e.sink.kill()
	if !e.closed {
		_ = e.finish() // writes nowhere, so nothing can fail or be lost
	}
}
