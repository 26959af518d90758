package seal

import (
	"cmp"
	"fmt"
	"io"
	"runtime"

	"filippo.io/age"
)

const (
	// zstdWindow bounds how far back zstd looks. Measured: rows compress as well with it
	// as with the library's 4 MiB, which take ten times the memory.
	zstdWindow = 256 << 10
	// zstdBestWindow makes rows 4 % smaller than zstdWindow does at the level Best. With 4 MiB they
	// are no smaller.
	zstdBestWindow = 1 << 20
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
	e := &encoder{sink: newSink()}
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
	e.kind = kind{o.Compression, cmp.Or(o.Level, Default), threads}
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
		e.Writer, e.closers, e.compressor = e.sink, nil, nil // it may be another's now
	}
	return nil
}

// abort ends the encoders' goroutines without an end of the artifact: whatever they still
// write is dropped.
func (e *encoder) abort() {
	e.sink.kill()
	e.compressor = nil // it may be broken: it is not used again
	if !e.closed {
		_ = e.finish() // writes nowhere, so nothing can fail or be lost
	}
}
