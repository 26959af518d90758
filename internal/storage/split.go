package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// chunk is one part in memory.
type chunk struct {
	data []byte
	last bool
	err  error
	// panicked is what a panicking stream said; it is raised again on Put's goroutine.
	panicked any
}

// split stores the stream in parts, reading one ahead: while a part is sent, the next
// one fills the second buffer. Two buffers of MaxBlob bytes are all the memory it takes.
func (p *put) split(ctx context.Context) error {
	size := p.repo.driver.Traits().MaxBlob
	chunks := make(chan chunk)
	free := make(chan []byte, 2)
	free <- make([]byte, size)
	free <- make([]byte, size)
	stop := make(chan struct{})
	go fill(p.in, chunks, free, stop)

	var err error
	var panicked any
	number := 0
	for c := range chunks {
		if panicked = c.panicked; panicked != nil {
			break
		}
		if c.err != nil {
			err = c.err
			break
		}
		if len(c.data) > 0 {
			number++
			if err = p.send(ctx, number, c); err != nil {
				break
			}
		}
		free <- c.data[:size]
	}
	// The filler ends at the next border of a read; the stream must not be read after
	// Put returned.
	close(stop)
	for c := range chunks {
		if c.panicked != nil {
			panicked = c.panicked
		}
	}
	if panicked != nil {
		panic(panicked)
	}
	return err
}

// fill reads the stream into the free buffers until its end, an error or stop. It reads
// one byte past each full part, so that the last part is known to be the last.
func fill(in io.Reader, chunks chan<- chunk, free <-chan []byte, stop <-chan struct{}) {
	defer func() {
		if v := recover(); v != nil {
			chunks <- chunk{panicked: v} // received also while draining
		}
		close(chunks)
	}()
	var next [1]byte
	carried := 0
	for {
		var buf []byte
		select {
		case buf = <-free:
		case <-stop:
			return
		}
		n := copy(buf, next[:carried])
		more, err := readFull(in, buf[n:], stop)
		n += more
		if err == nil {
			carried, err = readFull(in, next[:], stop)
		}
		c := chunk{data: buf[:n], last: err == io.EOF} //nolint:errorlint // io.EOF itself is the end
		if !c.last {
			c.err = err
		}
		select {
		case chunks <- c:
		case <-stop:
			return
		}
		if err != nil {
			return
		}
	}
}

// readFull is io.ReadFull with two differences: the stream's error is passed on as it is
// (io.ErrUnexpectedEOF of a decoder is a failure, not a short part), and stop ends it
// between two reads. io.EOF means that the buffer is not full.
func readFull(r io.Reader, buf []byte, stop <-chan struct{}) (n int, err error) {
	for n < len(buf) && err == nil {
		select {
		case <-stop:
			return n, errStopped
		default:
		}
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	if n == len(buf) && err == io.EOF { //nolint:errorlint // io.EOF itself is the end
		return n, nil // an intake says io.EOF again when it is asked again
	}
	return n, err
}

func (p *put) send(ctx context.Context, number int, c chunk) error {
	if number > MaxParts {
		return fmt.Errorf("%w: more than %d parts", ErrFull, MaxParts)
	}
	sum := sha256.Sum256(c.data)
	b := Blob{
		Name: Name{Key: p.key, Part: number}, Size: int64(len(c.data)),
		Body: bytes.NewReader(c.data), SHA256: sum,
	}
	if c.last {
		b.Parts = number
	}
	stored, err := p.repo.driver.Put(ctx, b)
	if err != nil {
		return fmt.Errorf("part %d: %w", number, err)
	}
	return p.accept(ctx, stored, Part{Ref: stored.Ref, Bytes: b.Size, SHA256: hex.EncodeToString(sum[:])})
}

// errStopped ends the filler after a part failed; nobody sees it.
var errStopped = errors.New("stopped")
