package seal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

const (
	// gzipBlockSize is what one goroutine compresses at a time. Measured: 256 KiB blocks
	// keep both cores of a small machine busy, 1 MiB blocks cost half as much again.
	gzipBlockSize = 256 << 10
	// gzipWindow is how far back deflate looks (RFC 1951, section 2).
	gzipWindow = 32 << 10
)

// gzipHeader begins a member without a name and a time, and gzipLast is deflate's empty last block
// with fixed codes (RFC 1952 and RFC 1951).
var (
	gzipHeader = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255}
	gzipLast   = []byte{0x03, 0x00}
)

// errClosed is returned by a Write after Close.
var errClosed = errors.New("the compressor is closed")

// gzipWriter compresses blocks side by side into one gzip member. Its writes go to a goroutine, so
// that the caller does not wait for them.
type gzipWriter struct {
	threads int
	search  gzipSearch

	open   *gzipBlock      // being filled; nil before the first byte
	blocks chan *gzipBlock // in their order, to the goroutine that writes; nil before the first byte
	ended  chan struct{}   // closed when it has ended
	out    io.Writer
	sum    uint32
	size   uint32 // modulo 2^32
	closed bool

	mu  sync.Mutex
	err error // the first of out
}

// gzipBlock is a piece of the dump with the window before it.
type gzipBlock struct {
	plain    [gzipWindow + gzipBlockSize]byte
	window   int // bytes of the window, which end at gzipWindow
	n        int // bytes of the block
	deflated bytes.Buffer
	other    bytes.Buffer  // a result to compare with
	done     chan struct{} // receives when it is compressed
}

var gzipBlocks = sync.Pool{New: func() any { return &gzipBlock{done: make(chan struct{}, 1)} }}

func newGzipWriter(threads int, search gzipSearch) *gzipWriter {
	return &gzipWriter{threads: threads, search: search, out: io.Discard}
}

// Reset makes it ready for another dump. It must be closed or without a byte.
func (g *gzipWriter) Reset(w io.Writer) {
	*g = gzipWriter{threads: g.threads, search: g.search, out: w}
}

// Write returns an error of an earlier write to the underlying writer, if there was one.
func (g *gzipWriter) Write(p []byte) (int, error) {
	if g.closed {
		return 0, errClosed
	}
	if err := g.failure(); err != nil {
		return 0, err
	}
	g.begin()
	g.sum = crc32.Update(g.sum, crc32.IEEETable, p)
	g.size += uint32(len(p)) //nolint:gosec // modulo 2^32, as the format wants it
	for rest := p; len(rest) > 0; {
		b := g.open
		n := copy(b.plain[gzipWindow+b.n:], rest)
		b.n += n
		rest = rest[n:]
		if b.n == gzipBlockSize {
			g.open = b.next()
			g.send(b)
		}
	}
	return len(p), nil
}

// Close writes the end of the member. It does not close the underlying writer.
func (g *gzipWriter) Close() error {
	if g.closed {
		return g.failure()
	}
	g.closed = true
	g.begin()
	if g.open.n > 0 {
		g.send(g.open)
	} else {
		gzipBlocks.Put(g.open)
	}
	g.open = nil
	close(g.blocks)
	<-g.ended
	end := binary.LittleEndian.AppendUint32(bytes.Clone(gzipLast), g.sum)
	g.write(binary.LittleEndian.AppendUint32(end, g.size))
	return g.failure()
}

func (g *gzipWriter) begin() {
	if g.blocks != nil {
		return
	}
	g.open = newGzipBlock()
	g.blocks, g.ended = make(chan *gzipBlock, g.threads-1), make(chan struct{})
	go func() {
		defer close(g.ended)
		g.write(gzipHeader)
		for b := range g.blocks {
			<-b.done
			g.write(b.deflated.Bytes())
			gzipBlocks.Put(b)
		}
	}()
}

// send waits while as many blocks as threads are being compressed or wait to be written: one is
// with the goroutine that writes, the others are in the channel.
func (g *gzipWriter) send(b *gzipBlock) {
	g.blocks <- b
	go b.compress(g.search)
}

// write does nothing after the first error.
func (g *gzipWriter) write(p []byte) {
	if g.failure() != nil {
		return
	}
	if _, err := g.out.Write(p); err != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.err = err
	}
}

func (g *gzipWriter) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

func newGzipBlock() *gzipBlock {
	b := gzipBlocks.Get().(*gzipBlock) //nolint:forcetypeassert // nothing else is in it
	b.window, b.n = 0, 0
	return b
}

// next returns an empty block with the window that a full block leaves.
func (b *gzipBlock) next() *gzipBlock {
	n := newGzipBlock()
	n.window = gzipWindow
	copy(n.plain[:gzipWindow], b.plain[gzipBlockSize:])
	return n
}

// gzipSearch is what else is tried for a block, beside deflate's level 1.
type gzipSearch struct {
	// literals makes a block with few matches, as of UUIDs, hex and base64, be compressed without
	// matches too: level 1 stores a piece without matches as it is.
	literals bool
	// longest makes each block be compressed with the longest search for matches too. Where the
	// matches are short ones by chance, that leaves more than level 1.
	longest bool
}

var gzipSearches = map[Level]gzipSearch{
	Fast:    {},
	Default: {literals: true},
	Best:    {literals: true, longest: true},
}

// compress takes the smallest result.
func (b *gzipBlock) compress(s gzipSearch) {
	window, plain := b.plain[gzipWindow-b.window:gzipWindow], b.plain[gzipWindow:gzipWindow+b.n]
	deflate(&b.deflated, &matching, window, plain)
	if s.literals && b.deflated.Len() > len(plain)/2 {
		b.try(&literal, nil, plain)
	}
	if s.longest {
		b.try(&longest, window, plain)
	}
	b.done <- struct{}{}
}

func (b *gzipBlock) try(pool *sync.Pool, window, plain []byte) {
	deflate(&b.other, pool, window, plain)
	if b.other.Len() < b.deflated.Len() {
		b.deflated, b.other = b.other, b.deflated
	}
}

// matching, literal and longest hold unused deflate compressors of a level each.
var (
	matching = sync.Pool{New: func() any { return newDeflater(flate.BestSpeed) }}
	literal  = sync.Pool{New: func() any { return newDeflater(flate.HuffmanOnly) }}
	longest  = sync.Pool{New: func() any { return newDeflater(flate.BestCompression) }}
)

func newDeflater(level int) *flate.Writer {
	w, err := flate.NewWriterDict(io.Discard, level, nil)
	if err != nil {
		panic(err) // the level is none of flate's
	}
	return w
}

// deflate compresses a block so that the next one begins at a byte.
func deflate(out *bytes.Buffer, pool *sync.Pool, window, plain []byte) {
	out.Reset()
	w := pool.Get().(*flate.Writer) //nolint:forcetypeassert // nothing else is in it
	w.ResetDict(out, window)
	_, _ = w.Write(plain) // a bytes.Buffer takes everything
	_ = w.Flush()
	pool.Put(w)
}
