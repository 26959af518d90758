package service

import (
	"context"
	"sync"
)

// starting delays the log line "serving" until every part that takes work, from the broker or from
// callers, has begun. No message is pulled before that line. It is safe for concurrent use.
type starting struct {
	mu    sync.Mutex
	left  int           // parts that have not begun
	begun chan struct{} // closed when all parts have begun
	said  chan struct{} // closed after the log line
}

// newStarting returns a starting. The service calls started after it has added its last part.
func newStarting() (s *starting, started func()) {
	s = &starting{begun: make(chan struct{}), said: make(chan struct{})}
	return s, s.part()
}

// part adds a part. It must be called before started. The part calls begun when it takes work;
// further calls of begun do nothing.
func (s *starting) part() (begun func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.left--; s.left == 0 {
			close(s.begun)
		}
	})
}

// say calls log when all parts have begun. It returns without a log line if ctx ends before.
func (s *starting) say(ctx context.Context, log func()) {
	select {
	case <-s.begun:
		log()
		close(s.said)
	case <-ctx.Done():
	}
}

// ready blocks until messages may be pulled.
func (s *starting) ready(ctx context.Context) error {
	select {
	case <-s.said:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
