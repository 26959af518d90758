package pgdump

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// warmUses and warmLife bound one session: a server's process remembers every table it
	// has met, and a login may have been withdrawn meanwhile. pg_dump itself always logs in
	// anew.
	warmUses = 50
	warmLife = 5 * time.Minute
	// warmTables is how many tables a dump may have for its session to be kept.
	warmTables = 1000
	// warmSessions bounds all sessions at rest; the one that rested longest goes.
	warmSessions = 8
	// restingName is what an operator sees of a session at rest.
	restingName = "pgcourier idle"
)

// warm keeps sessions of dumps that went well for the next dump of the same source: a new
// one costs a server's process and a password's proof. It is safe for concurrent use.
type warm struct {
	keep time.Duration // at rest; 0: nothing is kept

	mu      sync.Mutex
	resting []*session // the one that rested longest first
	closed  bool
}

// take returns a session with the source: one at rest that still answers, or a new one.
func (w *warm) take(ctx context.Context, src *source, dsn export.Secret, application string) (*session, error) {
	if w.keep == 0 || !src.AnyServer() { // a server's kind can change under a session
		return src.connect(ctx, application)
	}
	for {
		s := w.pop(dsn)
		if s == nil {
			break
		}
		if s.wake(ctx, application) == nil {
			return s, nil
		}
		s.close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	s, err := src.connect(ctx, restingName)
	if err != nil {
		return nil, err
	}
	s.home, s.dsn, s.since = w, dsn, time.Now()
	if err := s.wake(ctx, application); err != nil {
		s.close()
		return nil, fmt.Errorf("the source: %w", err)
	}
	return s, nil
}

// pop takes the youngest session with a source out of rest; nil: there is none.
func (w *warm) pop(dsn export.Secret) *session {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.resting) - 1; i >= 0; i-- {
		if s := w.resting[i]; s.dsn == dsn {
			w.remove(i)
			s.alarm.Stop()
			return s
		}
	}
	return nil
}

func (w *warm) remove(i int) { w.resting = append(w.resting[:i:i], w.resting[i+1:]...) }

// give lays a session to rest, which has no transaction and no setting of its own any more.
// It reports false if it is not to be kept.
func (w *warm) give(s *session) bool {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return false
	}
	var oldest *session
	if len(w.resting) >= warmSessions {
		oldest = w.resting[0]
		oldest.alarm.Stop()
		w.remove(0)
	}
	w.resting = append(w.resting, s)
	s.alarm = time.AfterFunc(w.keep, func() { w.expire(s) })
	w.mu.Unlock()
	if oldest != nil {
		oldest.close()
	}
	return true
}

// expire closes a session that has rested for long enough.
func (w *warm) expire(s *session) {
	w.mu.Lock()
	for i := range w.resting {
		if w.resting[i] == s {
			w.remove(i)
			w.mu.Unlock()
			s.close()
			return
		}
	}
	w.mu.Unlock() // it was taken
}

// close ends all sessions at rest, and keeps none from now on.
func (w *warm) close() {
	w.mu.Lock()
	resting := w.resting
	w.resting, w.closed = nil, true
	w.mu.Unlock()
	for _, s := range resting {
		s.alarm.Stop()
		s.close()
	}
}

// wake gives a session its name and finds out whether it still answers. The name is ours:
// letters, digits and blanks.
func (s *session) wake(ctx context.Context, application string) error {
	s.uses++
	settings := []string{"SET application_name = '" + application + "'"}
	if s.liveness {
		settings = append(settings, "SET "+livenessOption+" = 500")
	}
	return s.script(ctx, settings...)
}

// rest ends the transaction and, if the session may be kept, lays it to rest; else it
// closes it. Nothing of a dump outlives it: no role, no setting, no lock, no snapshot.
func (s *session) rest() {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	fresh := s.home != nil && !s.pooled && s.uses < warmUses && time.Since(s.since) < warmLife
	if !fresh || s.script(ctx, "ROLLBACK") != nil || s.script(ctx, "DISCARD ALL") != nil || !s.home.give(s) {
		s.close()
	}
}
