package file

import (
	"context"
	"io"
	"os"
	"sync"
	"unsafe"
)

const (
	// blockSize is the size of one write and of one read: large enough that a device which is
	// written past the page cache is kept busy, and there are four of them at most.
	blockSize = 1 << 20
	// blocksAhead is how many blocks of one blob there are: one is filled, one is written,
	// and one lies between, so that neither side waits for the other's every step.
	blocksAhead = 3
	// blockAlign is what direct writes must be aligned to, in memory and in the file: no
	// device has larger logical blocks.
	blockAlign = 4096
	// A file that is written past the page cache gets room for as much again as it has, within
	// these bounds. While a direct write makes a file longer, ext4 blocks its readers. Within
	// its length, a file is written and read back at the same time.
	reserveLeast = 4 << 20
	reserveMost  = 32 << 20
)

// blocks lends buffers of blockSize bytes, aligned to blockAlign. The zero value is ready to
// use, by any goroutine.
type blocks struct{ pool sync.Pool }

func (b *blocks) take() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	raw := make([]byte, blockSize+blockAlign)
	skip := -int(uintptr(unsafe.Pointer(&raw[0]))) & (blockAlign - 1) //nolint:gosec // the address is looked at only
	return raw[skip : skip+blockSize : skip+blockSize]
}

// give takes back a block that is no longer used.
func (b *blocks) give(block []byte) {
	block = block[:blockSize]
	b.pool.Put(&block)
}

// writer writes a file in blocks, each beside the filling of the next one. Blobs larger than a
// block bypass the page cache where the file system can (O_DIRECT): a dump is not read again soon,
// copying it there costs as much as hashing it, and it would evict pages that the database on the
// same machine needs. A smaller file, and what follows the last full block, goes through the cache.
type writer struct {
	file    *os.File
	back    *readBack
	lent    *blocks
	direct  bool
	written int64 // by the goroutine that writes; the caller's once that has ended
	room    int64 // up to where the file was made longer before its bytes came; as written

	free chan []byte // to be filled
	full chan []byte // to be written; nil: no goroutine writes
	done chan struct{}
	err  error // once done
	made int
}

func newWriter(f *os.File, back *readBack, lent *blocks) *writer {
	return &writer{file: f, back: back, lent: lent, free: make(chan []byte, blocksAhead)}
}

// copyFrom writes body to its end and returns how much that was. An error of the body stays as
// it is; one of the file is classed. Nothing is written any more when it has returned.
func (w *writer) copyFrom(ctx context.Context, body io.Reader) (int64, error) {
	defer w.release()
	for {
		block, err := w.next()
		if err != nil {
			return w.written, err
		}
		n, readErr := w.fill(ctx, block, body)
		switch {
		case readErr == io.EOF: //nolint:errorlint // io.EOF itself is the end; a wrapped one is a failure
			return w.last(block, n)
		case readErr != nil:
			w.free <- block
			w.join()
			return w.written, readErr
		}
		w.start()
		w.full <- block
	}
}

// fill reads until the block is full, and sums up what comes while a core's cache still holds
// it. io.EOF means that the body ended, with n bytes in the block.
func (w *writer) fill(ctx context.Context, block []byte, body io.Reader) (n int, err error) {
	for n < len(block) {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		m, err := body.Read(block[n:])
		w.back.expect(block[n : n+m])
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// next is a block to fill, or the error of an earlier one.
func (w *writer) next() ([]byte, error) {
	if len(w.free) == 0 && w.made < blocksAhead {
		w.made++
		return w.lent.take(), nil
	}
	select {
	case block := <-w.free:
		return block, nil
	case <-w.done: // nil before start: then a block is free
		return nil, w.err
	}
}

// start begins to write beside the filling.
func (w *writer) start() {
	if w.full != nil {
		return
	}
	w.direct = setDirect(w.file, true)
	w.full, w.done = make(chan []byte, blocksAhead), make(chan struct{})
	go func() {
		defer close(w.done)
		for block := range w.full {
			if w.err = w.write(block); w.err != nil {
				return // next tells of it; there are no more blocks than full has room for
			}
			w.free <- block
		}
	}()
}

// last writes the last n bytes, after all that is on its way.
func (w *writer) last(block []byte, n int) (int64, error) {
	w.join()
	if w.err == nil && w.room > w.written {
		w.err = wrap(w.file.Truncate(w.written))
	}
	if w.err == nil && n > 0 {
		w.cached()
		w.err = w.write(block[:n])
	}
	w.free <- block
	return w.written, w.err
}

// write brings bytes into the file and tells the reading back.
func (w *writer) write(p []byte) error {
	if w.direct && w.written+int64(len(p)) > w.room {
		w.room = w.written + min(reserveMost, max(reserveLeast, w.written))
		reserve(w.file, w.written, w.room-w.written)
	}
	n, err := w.file.Write(p)
	if err != nil && w.direct && n == 0 && isInvalid(err) { // a file system that only said it could
		w.cached()
		n, err = w.file.Write(p)
	}
	w.written += int64(n)
	if err != nil {
		return wrap(err)
	}
	w.back.wrote(w.written)
	return nil
}

// cached lets what follows go through the cache.
func (w *writer) cached() {
	if w.direct {
		w.direct = setDirect(w.file, false)
	}
}

// join waits for what is on its way.
func (w *writer) join() {
	if w.full != nil {
		close(w.full)
		<-w.done
		w.full = nil
	}
}

// release gives all blocks back.
func (w *writer) release() {
	w.join()
	for {
		select {
		case block := <-w.free:
			w.lent.give(block)
		default:
			return
		}
	}
}
