package seal

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"filippo.io/age"
)

const (
	// readSize is the size of the buffer for plain bytes. A pipe of 1 MiB fills it.
	readSize = 256 << 10
	// fillSize is how much is gathered before it is worked on: pg_dump writes 4.6 KB at
	// a time, too little for the stages behind.
	fillSize = 64 << 10
	// maxEmptyReads is when a source that returns neither bytes nor an error is given
	// up, as bufio does.
	maxEmptyReads = 100
)

// Inspector looks at a dump while it passes through a Stream and decides whether it is whole.
type Inspector interface {
	// Write is given the dump in pieces, in order, and must not keep or change them. Its
	// error ends the Stream.
	io.Writer
	// Finish is called once, when the source ended and all of it was written, before the
	// artifact gets its valid end. An error says that the dump is not whole.
	Finish() error
}

// Options say what a Stream does with a dump.
type Options struct {
	Compression Compression // required
	Level       Level       // default: Default
	// Inspector decides whether the dump is whole. Nil: whatever the source returns is.
	Inspector Inspector
	// MaxBytes caps the plain dump. 0: no cap.
	MaxBytes int64
	// Recipients can read the artifact. Empty: it is not encrypted.
	Recipients []age.Recipient
	// Concurrency is how many goroutines compress. Each takes about 2 MiB. 0: GOMAXPROCS,
	// at most 4.
	Concurrency int
}

// Summary describes a whole artifact.
type Summary struct {
	PlainBytes  int64  // of the dump
	StoredBytes int64  // of the artifact
	SHA256      string // of the artifact, lower-case hex
	CRC32C      uint32 // of the artifact, for the next stage in this process
}

// Progress says how far a Stream is.
type Progress struct {
	PlainBytes  int64 // read from the source
	StoredBytes int64 // sealed, though perhaps not read yet
}

// Stream yields the sealed bytes of a dump. It is driven by Read: nothing is read from
// the source ahead of demand, and it starts no goroutine but the compressors' own and, for
// what is larger than a chunk, the one that sums up. Read is for one goroutine at a time;
// Close, Progress and Summary are for any.
type Stream struct {
	src     io.Reader
	options Options
	encoder *encoder
	in      *[readSize]byte // nil: given back
	plain   atomic.Int64
	summary atomic.Pointer[Summary]
	closed  atomic.Bool

	mu    sync.Mutex // held by a Read, and by the Close that finds none
	whole bool
	err   error
}

// New makes a Stream over src. The caller closes the Stream, and src: closing the Stream
// does not, and does not interrupt a Read of src that is under way.
func New(src io.Reader, o Options) (*Stream, error) {
	switch {
	case src == nil:
		return nil, errors.New("seal: no source")
	case o.MaxBytes < 0:
		return nil, fmt.Errorf("seal: negative size limit %d", o.MaxBytes)
	case o.Concurrency < 0:
		return nil, fmt.Errorf("seal: negative concurrency %d", o.Concurrency)
	}
	e, err := newEncoder(o)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return &Stream{src: src, options: o, encoder: e, in: inputs.Get().(*[readSize]byte)}, nil //nolint:forcetypeassert // nothing else is in it
}

// Read returns sealed bytes. It returns io.EOF only when the artifact is whole: src ended
// with io.EOF and the Inspector agreed. Otherwise it returns, for good:
//
//   - the source's error, wrapped, so that it compares equal to no sentinel by which
//     readers recognise an end: use errors.Is or errors.As;
//   - a *SizeLimitError as soon as the dump is larger than the cap;
//   - the error of the Inspector, as it is;
//   - ErrClosed after Close.
func (s *Stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer func() {
		s.mu.Unlock()
		s.release()
	}()
	for {
		switch {
		case s.closed.Load():
			return 0, ErrClosed
		case s.err != nil:
			return 0, s.err
		case len(p) == 0:
			return 0, nil
		}
		keep := holdBack
		if s.whole {
			keep = 0
		}
		if n := s.encoder.sink.take(p, keep); n > 0 {
			return n, nil
		}
		if s.whole {
			return 0, io.EOF
		}
		if s.err = s.pump(); s.err != nil {
			s.encoder.abort()
		}
	}
}

// pump takes the next piece of the source through all stages.
func (s *Stream) pump() error {
	n, end, err := s.fill()
	if err != nil {
		return err
	}
	if s.options.Inspector != nil {
		if _, err := s.options.Inspector.Write(s.in[:n]); err != nil {
			return err
		}
	}
	if _, err := s.encoder.Write(s.in[:n]); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if !end {
		return nil
	}
	if s.options.Inspector != nil {
		if err := s.options.Inspector.Finish(); err != nil {
			return err
		}
	}
	if err := s.encoder.finish(); err != nil {
		return err
	}
	s.whole = true
	s.giveInput()
	sha, crc := s.encoder.sink.sums()
	s.summary.Store(&Summary{
		PlainBytes: s.plain.Load(), StoredBytes: s.encoder.sink.n.Load(), SHA256: sha, CRC32C: crc,
	})
	return nil
}

// fill gathers bytes of the source. It reports whether the source ended.
func (s *Stream) fill() (n int, end bool, err error) {
	for empty := 0; n < fillSize && !s.closed.Load(); {
		m, err := s.src.Read(s.in[n:])
		n += m
		total := s.plain.Add(int64(m))
		switch {
		case err != nil && err != io.EOF:
			return 0, false, fmt.Errorf("read dump: %w", err)
		case s.options.MaxBytes > 0 && total > s.options.MaxBytes:
			return 0, false, &SizeLimitError{Limit: s.options.MaxBytes}
		case err != nil:
			return n, true, nil //nolint:nilerr // io.EOF is the good end
		case m > 0:
			empty = 0
		default:
			if empty++; empty >= maxEmptyReads {
				return 0, false, fmt.Errorf("read dump: %w", io.ErrNoProgress)
			}
		}
	}
	return n, false, nil
}

// Close gives up what the Stream holds and ends the compressors' goroutines; if a Read is
// under way, that Read does so when src returns. It is idempotent and returns nil.
func (s *Stream) Close() error {
	s.closed.Store(true)
	s.release()
	return nil
}

// release frees the encoders of a closed Stream, unless a Read holds them: that Read
// calls release when it is done.
func (s *Stream) release() {
	if !s.closed.Load() || !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	s.encoder.abort()
	s.giveInput()
}

// giveInput gives the buffer back. The caller holds mu, and nothing is read any more.
func (s *Stream) giveInput() {
	if s.in != nil {
		inputs.Put(s.in)
		s.in = nil
	}
}

// Summary describes the artifact. It is zero until the dump ended and was found whole, which is
// before Read returns io.EOF. The artifact is valid only after that io.EOF.
func (s *Stream) Summary() Summary {
	if p := s.summary.Load(); p != nil {
		return *p
	}
	return Summary{}
}

// Progress says how far the Stream is.
func (s *Stream) Progress() Progress {
	return Progress{PlainBytes: s.plain.Load(), StoredBytes: s.encoder.sink.n.Load()}
}
