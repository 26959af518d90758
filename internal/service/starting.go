package service

import (
	"context"
	"sync"
)

// starting is what a service waits for before it says that it serves: its parts that take work, from
// the broker or from callers, until each of them can. No message is pulled before it was said. It is
// safe for concurrent use.
type starting struct {
	mu    sync.Mutex
	left  int           // parts that have not begun
	begun chan struct{} // closed when all have
	said  chan struct{} // closed when the service has said that it serves
}

// newStarting returns a starting, and the function that says that the service has started all of its
// parts.
func newStarting() (s *starting, started func()) {
	s = &starting{begun: make(chan struct{}), said: make(chan struct{})}
	return s, s.part()
}

// part adds a part, before the service has started. The returned function says that the part has
// begun; calls after the first do nothing.
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

// say calls log when all parts have begun, unless ctx ends before.
func (s *starting) say(ctx context.Context, log func()) {
	select {
	case <-s.begun:
		log()
		close(s.said)
	case <-ctx.Done():
	}
}

// ready waits until messages may be pulled.
func (s *starting) ready(ctx context.Context) error {
	select {
	case <-s.said:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
