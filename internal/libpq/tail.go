package libpq

import (
	"io"
	"sync"
)

// tailLimit bounds what is kept of a tool's stderr: its last words say why it stopped.
const tailLimit = 8 << 10

// tail keeps the last tailLimit bytes written to it, in at most twice that memory. It is
// safe for concurrent use.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

var _ io.Writer = (*tail)(nil)

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	p = p[max(0, n-tailLimit):]
	if over := len(t.buf) + len(p) - tailLimit; over > 0 {
		t.buf = t.buf[:copy(t.buf, t.buf[over:])]
	}
	t.buf = append(t.buf, p...)
	return n, nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
