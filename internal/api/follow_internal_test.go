package api

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// deadlines records the write deadlines of a response.
type deadlines struct {
	http.ResponseWriter
	set []time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

func (d *deadlines) Unwrap() http.ResponseWriter { return d.ResponseWriter }

// net/http ends a stream of HTTP/2 when a deadline passes, also between two writes.
func TestNoDeadlineIsLeftBetweenTwoEvents(t *testing.T) {
	t.Parallel()
	d := &deadlines{ResponseWriter: httptest.NewRecorder()}
	s := &eventStream{w: d, control: http.NewResponseController(d)}
	d.Header().Set("Content-Type", "text/event-stream")
	if !s.write([]byte(": events\n\n")) {
		t.Fatal("not written")
	}
	if len(d.set) != 2 || d.set[0].IsZero() || !d.set[1].IsZero() {
		t.Errorf("deadlines %v", d.set)
	}
}
