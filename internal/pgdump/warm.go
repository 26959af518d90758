package pgdump

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// warmUses and warmLife bound one session: the memory of a backend grows with each table that it
	// has read, and the login may have been revoked. pg_dump always makes a new login.
	warmUses = 50
	warmLife = 5 * time.Minute
	// warmTables is how many tables a dump may have for its session to be kept.
	warmTables = 1000
	// warmSessions bounds all idle sessions. Above it, the one that is idle for the longest time is
	// closed.
	warmSessions = 8
	// restingName is the application name of an idle session.
	restingName = "pgcourier idle"
)

// warm keeps the sessions of successful dumps for the next dump of the same source: a new session
// costs a backend process and an authentication. It is safe for concurrent use.
type warm struct {
	keep time.Duration // how long a session stays idle; 0: none is kept

	mu      sync.Mutex
	resting []*session // longest idle first
	closed  bool
}

// take returns a session on the source: an idle one that still answers, or a new one.
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

// pop removes and returns the most recently used idle session on a source; nil: none.
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

// give keeps a session, which must have no transaction and no settings of a dump. It returns false if
// the session cannot be kept.
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

// expire closes a session that was idle for too long.
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
	w.mu.Unlock() // taken in between
}

// close ends all idle sessions and keeps none from now on.
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

// wake sets the application name of a session and so checks that the server answers. The name is
// generated here from letters, digits and blanks, so it needs no quoting.
func (s *session) wake(ctx context.Context, application string) error {
	s.uses++
	settings := []string{"SET application_name = '" + application + "'"}
	if s.liveness {
		settings = append(settings, "SET "+livenessOption+" = 500")
	}
	return s.script(ctx, settings...)
}

// rest ends the transaction, and keeps the session if it may be kept; else it closes it. Nothing of the
// dump remains: no role, no setting, no lock, no snapshot.
func (s *session) rest() {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	fresh := s.home != nil && !s.pooled && s.uses < warmUses && time.Since(s.since) < warmLife
	if !fresh || s.script(ctx, "ROLLBACK") != nil || s.script(ctx, "DISCARD ALL") != nil || !s.home.give(s) {
		s.close()
	}
}
