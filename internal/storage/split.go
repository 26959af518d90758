package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
)

// split stores the stream in parts, reading one ahead: while a part is sent, the next
// one fills the other buffer. Two buffers of MaxBlob bytes are all the memory it takes. It
// reads one byte past each full part, so that the last part is known to be the last.
// The stream is read on Put's own goroutine, so its panics go to Put's caller.
func (p *put) split(ctx context.Context) (err error) {
	size := p.repo.driver.Traits().MaxBlob
	buf := p.repo.parts.take(size)
	var spare []byte // once there is a second part
	f := flight{landed: make(chan error, 1)}
	defer func() { p.repo.parts.give(buf, spare) }()
	defer func() { err = errors.Join(err, f.wait()) }() // nothing flies after Put returned
	var peek [1]byte
	carried := 0
	for number := 1; ; number++ {
		n := copy(buf, peek[:carried])
		more, readErr := p.readFull(buf[n:], &f)
		n += more
		if readErr == nil {
			carried, readErr = p.readFull(peek[:], &f)
		}
		last := readErr == io.EOF //nolint:errorlint // io.EOF itself is the end; a wrapped one is a failure
		if readErr != nil && !last {
			return readErr
		}
		if err := f.wait(); err != nil {
			return err
		}
		if n > 0 {
			data := buf[:n]
			f.launch(func() error { return p.send(ctx, number, data, last) })
		}
		if last {
			return f.wait()
		}
		if spare == nil {
			spare = p.repo.parts.take(size)
		}
		buf, spare = spare, buf
	}
}

// partBuffers are the buffers of parts that are not in use: the next export takes them as
// they are, while fresh ones would first be cleared, and lie beside the old ones until these
// are collected. The zero value is ready to use, by any goroutine.
type partBuffers struct{ pool sync.Pool }

func (b *partBuffers) take(size int64) []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, size)
}

func (b *partBuffers) give(buffers ...[]byte) {
	for _, p := range buffers {
		if p != nil {
			b.pool.Put(&p)
		}
	}
}

// readFull is io.ReadFull with two differences: the stream's error is passed on as it is
// (io.ErrUnexpectedEOF of a decoder is a failure, not a short part), and a part that
// failed meanwhile ends it between two reads. io.EOF means that buf is not full.
func (p *put) readFull(buf []byte, f *flight) (n int, err error) {
	for n < len(buf) && err == nil {
		if err := f.poll(); err != nil {
			return n, err
		}
		var m int
		m, err = p.in.Read(buf[n:])
		n += m
	}
	if n == len(buf) && err == io.EOF { //nolint:errorlint // io.EOF itself is the end; a wrapped one is a failure
		return n, nil // an intake says io.EOF again when it is asked again
	}
	return n, err
}

func (p *put) send(ctx context.Context, number int, data []byte, last bool) error {
	if number > MaxParts {
		return fmt.Errorf("%w: more than %d parts", ErrFull, MaxParts)
	}
	sum := sha256.Sum256(data)
	b := Blob{
		Name: Name{Key: p.key, Part: number}, Size: int64(len(data)), Body: bytes.NewReader(data), SHA256: sum,
	}
	if last {
		b.Parts = number
	}
	stored, err := p.repo.driver.Put(ctx, b)
	if err != nil {
		return fmt.Errorf("part %d: %w", number, err)
	}
	p.made = append(p.made, stored.Ref)
	return p.accept(ctx, stored, Part{Ref: stored.Ref, Bytes: b.Size, SHA256: hex.EncodeToString(sum[:])})
}

// flight is one part on its way, beside the reading of the next.
type flight struct {
	landed chan error // of capacity 1
	flying bool
}

func (f *flight) launch(send func() error) {
	f.flying = true
	go func() { f.landed <- send() }()
}

// wait returns how the flight ended, once; nil when nothing flies.
func (f *flight) wait() error {
	if !f.flying {
		return nil
	}
	f.flying = false
	return <-f.landed
}

// poll is wait without waiting.
func (f *flight) poll() error {
	if !f.flying {
		return nil
	}
	select {
	case err := <-f.landed:
		f.flying = false
		return err
	default:
		return nil
	}
}
