package seal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"filippo.io/age"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// openBuffer is what is read of an artifact at a time.
	openBuffer = 64 << 10
	// maxZstdWindow bounds what a hostile frame makes the decoder allocate. Streams of
	// this package need 256 KiB, zstd's own up to level 19 need 8 MiB.
	maxZstdWindow = 8 << 20
	ageMagic      = "age-encryption.org/v1\n"
)

var errTrailing = errors.New("bytes after the end of the compressed stream")

// Open returns the plain dump of an artifact: decrypted when there are identities, then
// decompressed. With identities the artifact must be encrypted; without, an encrypted one
// is ErrEncrypted. An artifact that is cut short, damaged or followed by other bytes makes
// Read fail; but Read cannot know before the end, so nothing that was read may be used
// until it returned io.EOF. The one thing after an artifact that it does not notice is
// another whole zstd frame.
//
// The caller closes both the returned reader and r. The reader is for one goroutine.
func Open(r io.Reader, c Compression, identities []age.Identity) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(&outspoken{r, "read artifact"}, openBuffer)
	head, err := in.Peek(len(ageMagic))
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case len(head) == 0:
		return nil, fmt.Errorf("read artifact: %w", io.ErrUnexpectedEOF)
	case len(identities) > 0:
		plain, err := age.Decrypt(in, identities...)
		if err != nil {
			return nil, fmt.Errorf("decrypt: %w", err)
		}
		in = bufio.NewReaderSize(&outspoken{plain, "decrypt"}, openBuffer)
	case string(head) == ageMagic:
		return nil, ErrEncrypted
	}
	switch c {
	case Plain:
		return &opened{outspoken: outspoken{in, "open artifact"}}, nil
	case Gzip:
		g, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("decompress: %w", notEOF(err))
		}
		// The sealer writes one member: whatever follows it does not belong to it.
		g.Multistream(false)
		return &opened{outspoken: outspoken{&single{g, in}, "decompress"}}, nil
	case Zstd:
		// One goroutine, the caller's: nothing is left behind when reading stops.
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, fmt.Errorf("decompress: %w", notEOF(err))
		}
		if _, err := in.Peek(1); err != nil {
			z.Close()
			return nil, fmt.Errorf("decompress: %w", notEOF(err))
		}
		return &opened{outspoken: outspoken{z, "decompress"}, free: z.Close}, nil
	default:
		return nil, fmt.Errorf("unknown compression %q", c)
	}
}

// notEOF keeps an early end from looking like a clean one.
func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// single ends where its compressed stream ends, and fails if in goes on.
type single struct {
	io.Reader
	in *bufio.Reader
}

func (s *single) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err == io.EOF {
		switch _, next := s.in.Peek(1); {
		case next == nil:
			err = errTrailing
		case next != io.EOF:
			err = next
		}
	}
	return n, err
}

// outspoken wraps a failure, so that it compares equal to no sentinel by which readers
// recognise an end: zstd takes a source's io.ErrUnexpectedEOF after a frame for one, and
// readers of fixed-size parts take it for the last part.
type outspoken struct {
	io.Reader
	doing string
}

func (o *outspoken) Read(p []byte) (int, error) {
	n, err := o.Reader.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // a wrapped EOF is a failure, not an end
		err = fmt.Errorf("%s: %w", o.doing, err)
	}
	return n, err
}

// opened is what Open returns.
type opened struct {
	outspoken
	free   func()
	closed atomic.Bool
}

func (o *opened) Read(p []byte) (int, error) {
	if o.closed.Load() {
		return 0, ErrClosed
	}
	return o.outspoken.Read(p)
}

func (o *opened) Close() error {
	if !o.closed.Swap(true) && o.free != nil {
		o.free()
	}
	return nil
}
