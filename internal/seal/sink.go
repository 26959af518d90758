package seal

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"sync"
	"sync/atomic"
)

const (
	// chunkSize is how much is summed up at a time: no more than a core's cache holds.
	chunkSize = 64 << 10
	// chunksAhead is the number of chunks that may wait to be summed up before the writer waits.
	chunksAhead = 4
)

// sink is where sealed bytes arrive: it counts them, keeps them for Read, and sums them up
// beside that: SHA-256 takes more of a core than all else that is done to a dump which is not
// compressed. Compressors write to it from goroutines of their own.
type sink struct {
	n atomic.Int64 // of what arrived

	mu    sync.Mutex
	kept  []*chunk // not wholly taken, the oldest first
	start int      // of what was not taken of the first
	taken int64
	open  *chunk // the last, while it is not full; nil: none
	dead  bool

	sum  hash.Hash // the goroutine's, while there is one
	crc  uint32
	full chan *chunk // to be summed up; nil: no chunk was full so far
	done chan struct{}
}

// chunk is a piece of what arrived. It goes back once it was both summed up and taken; what a
// killed sink kept is left to the garbage collector.
type chunk struct {
	b    [chunkSize]byte
	n    int
	uses atomic.Int32
}

var chunks = sync.Pool{New: func() any { return new(chunk) }}

func (c *chunk) release() {
	if c.uses.Add(-1) == 0 {
		chunks.Put(c)
	}
}

func newSink() *sink { return &sink{sum: sha256.New()} }

// Write keeps p. A dead sink drops it and reports success: the encoders then end as usual.
func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return len(p), nil
	}
	for rest := p; len(rest) > 0; {
		if s.open == nil {
			s.open = chunks.Get().(*chunk) //nolint:forcetypeassert // nothing else is in it
			s.open.n = 0
			s.open.uses.Store(2)
			s.kept = append(s.kept, s.open)
		}
		n := copy(s.open.b[s.open.n:], rest)
		s.open.n += n
		rest = rest[n:]
		if s.open.n == chunkSize {
			s.handOver()
		}
	}
	s.n.Add(int64(len(p)))
	return len(p), nil
}

// handOver gives the open chunk, which is full, to be summed up. The caller holds mu, which
// summing up does not want.
func (s *sink) handOver() {
	if s.full == nil {
		s.full, s.done = make(chan *chunk, chunksAhead), make(chan struct{})
		go func() {
			defer close(s.done)
			for c := range s.full {
				s.add(c)
			}
		}()
	}
	s.full <- s.open
	s.open = nil
}

func (s *sink) add(c *chunk) {
	s.sum.Write(c.b[:c.n])
	s.crc = CRC32C(s.crc, c.b[:c.n])
	c.release()
}

// take moves bytes to p, all but the last keep.
func (s *sink) take(p []byte, keep int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	p = p[:max(0, min(int64(len(p)), s.n.Load()-s.taken-int64(keep)))]
	n := 0
	for n < len(p) {
		first := s.kept[0]
		m := copy(p[n:], first.b[s.start:first.n])
		n += m
		if s.start += m; s.start == first.n && first != s.open {
			s.kept, s.start = append(s.kept[:0], s.kept[1:]...), 0
			first.release()
		}
	}
	s.taken += int64(n)
	return n
}

// end stops summing up. The caller holds mu, and nothing is written any more.
func (s *sink) end() {
	if s.full != nil {
		close(s.full)
		<-s.done
		s.full = nil
	}
}

// sums are those of all that arrived, after which nothing may.
func (s *sink) sums() (sha string, crc uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
	if s.open != nil {
		s.add(s.open)
		s.open = nil
	}
	return hex.EncodeToString(s.sum.Sum(nil)), s.crc
}

// kill drops what is kept and all that follows.
func (s *sink) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
	s.dead, s.kept, s.open, s.taken, s.start = true, nil, nil, s.n.Load(), 0
}
