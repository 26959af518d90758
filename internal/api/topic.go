package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/export"
)

// topic holds the stored events of one request in order, and its latest progress, for all its callers.
type topic struct {
	id    export.ID
	js    jetstream.JetStream
	log   *slog.Logger
	users int // guarded by the feed's mutex
	stop  context.CancelFunc
	hints chan struct{}
	next  map[string]uint64 // next sequence by stream; used by the topic's goroutine only

	mu      sync.Mutex
	history []occurrence
	live    *occurrence
	changed chan struct{} // closed when the above change
	looked  bool          // the streams were read once
	err     error         // of the last read
}

// hint makes the topic read the streams.
func (t *topic) hint() {
	select {
	case t.hints <- struct{}{}:
	default:
	}
}

func (t *topic) progressed(o occurrence) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.live = &o
	t.tell()
}

// tell wakes all callers. The caller holds the mutex.
func (t *topic) tell() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// since returns the stored events from an index on, the latest progress, and a channel that is closed
// when there are more.
func (t *topic) since(index int) (stored []occurrence, live *occurrence, changed <-chan struct{}, ready bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.history[min(index, len(t.history)):]), t.live, t.changed, t.looked, t.err
}

// run reads the streams at the start, after each hint, and every lookEvery.
func (t *topic) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	_ = t.look(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = t.look(ctx)
		case <-t.hints:
			wait := settleWait
			for range settleTries {
				if found := t.look(ctx); found || ctx.Err() != nil {
					break
				}
				select {
				case <-ctx.Done():
				case <-time.After(wait):
				}
				wait *= 2
			}
		}
	}
}

// look reads new events of the streams and reports whether there were any.
func (t *topic) look(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	var found []occurrence
	var faults []error
	for _, name := range []string{events.StreamEvents, events.StreamOutcomes} {
		some, err := t.read(ctx, name)
		found, faults = append(found, some...), append(faults, err)
	}
	err := errors.Join(faults...)
	if err != nil && ctx.Err() == nil {
		t.log.WarnContext(ctx, "events of a request not read", "project_id", t.id.Project, "request_id", t.id.Request, "error", err)
	}
	slices.SortStableFunc(found, func(x, y occurrence) int { return x.at.Compare(y.at) })
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.looked
	t.history, t.err = append(t.history, found...), err
	t.looked = t.looked || err == nil
	for _, o := range found {
		if o.kind == events.TypeCompleted || o.kind == events.TypeFailed {
			t.live = nil
		}
	}
	if len(found) > 0 || t.looked != was || err != nil {
		t.tell()
	}
	return len(found) > 0
}

// read reads the new events of one stream.
func (t *topic) read(ctx context.Context, name string) ([]occurrence, error) {
	s, err := t.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("find stream %s: %w", name, err)
	}
	var out []occurrence
	for {
		m, err := s.GetMsg(ctx, max(t.next[name], 1), jetstream.WithGetMsgSubject(events.OutcomeFilter(t.id.Project, t.id.Request)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("read stream %s: %w", name, err)
		}
		t.next[name] = m.Sequence + 1
		tokens := strings.SplitN(m.Subject, ".", 3)
		kind := tokens[0] + "." + tokens[1]
		out = append(out, occurrence{id: fmt.Sprintf("%s-%d", strings.ToLower(strings.TrimPrefix(name, "BACKUP_")), m.Sequence), kind: kind, body: compact(m.Data), at: m.Time})
	}
}

// compact returns JSON on one line.
func compact(b []byte) []byte {
	var out bytes.Buffer
	if json.Compact(&out, b) != nil {
		return []byte("null") // not a worker's
	}
	return out.Bytes()
}
