package file

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/pgcourier/pgcourier/internal/seal"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// readBackStep is how much is written before it is brought to the device and read again:
// enough for one good write, and what is left to do in the end takes no time.
const readBackStep = 16 << 20

// readBack reads a growing file back while it is written. The file was flushed to the device and
// dropped from memory first, so the read returns what the device holds. Both sides are summed up
// with CRC-32C, which processors compute many times as fast as SHA-256. It only has to tell what
// was just written from damage; the SHA-256 of the export is that of the bytes written, and is
// compared with the manifest before their end.
type readBack struct {
	file  *os.File
	steps chan int64 // up to where the file was written
	stop  func()     // ends the reading and waits for its end
	done  chan struct{}

	written uint32 // sum of what is written; of the goroutine that fills blocks
	told    int64  // of the one that writes them
	found   uint32 // sum of what was read
	at      int64
	lent    *blocks
	err     error // once done
}

// newReadBack starts reading file back. The caller calls stop.
func newReadBack(ctx context.Context, file *os.File, lent *blocks) *readBack {
	r := &readBack{file: file, steps: make(chan int64, 1), done: make(chan struct{}), lent: lent}
	r.stop = sync.OnceFunc(func() {
		close(r.steps)
		<-r.done
	})
	go func() {
		defer close(r.done)
		for end := range r.steps {
			if r.err == nil {
				r.err = r.step(ctx, end)
			}
		}
	}()
	return r
}

// expect takes note of what will be written next.
func (r *readBack) expect(p []byte) { r.written = seal.CRC32C(r.written, p) }

// wrote takes note of where what was written ends. While an earlier step is under way
// reading waits for the next one.
func (r *readBack) wrote(end int64) {
	if end-r.told < readBackStep {
		return
	}
	select {
	case r.steps <- end:
		r.told = end
	default:
	}
}

// step reads up to end.
func (r *readBack) step(ctx context.Context, end int64) error {
	flush(r.file, r.at, end-r.at)
	buf := r.lent.take()
	defer r.lent.give(buf)
	for r.at < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.file.ReadAt(buf[:min(int64(len(buf)), end-r.at)], r.at)
		r.found = seal.CRC32C(r.found, buf[:n])
		r.at += int64(n)
		if err != nil && (err != io.EOF || n == 0) { // ReadAt gives io.EOF itself
			return fmt.Errorf("read back: %w", err)
		}
	}
	return nil
}

// finish reads the rest of a file that was synced, of size bytes, and compares.
func (r *readBack) finish(ctx context.Context, size int64) error {
	r.stop()
	if r.err == nil {
		r.err = r.step(ctx, size)
	}
	if r.err == nil && r.found != r.written {
		r.err = fmt.Errorf("%w: what is read back is not what was written", storage.ErrDamaged)
	}
	return r.err
}
