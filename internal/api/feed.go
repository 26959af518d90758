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

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/export"
)

// announcements is the filter of all live events of requests.
const announcements = "backup.*.*.*"

const (
	// lookEvery is the pause between two reads of a followed request's events, in case a live event
	// was lost. Clients get a comment as often, so that proxies keep the connection.
	lookEvery = 15 * time.Second
	// lookTimeout bounds one reading of the streams.
	lookTimeout = 5 * time.Second
	// settleTries and settleWait bound the wait until a received event is stored: subscribers get a
	// message before the stream has it.
	settleTries = 8
	settleWait  = 10 * time.Millisecond // doubled each time: 2.5 seconds in all
	// staleProgress is the age at which progress is dropped.
	staleProgress = time.Minute
)

// feed is one subscription for all callers that follow exports. The callers of one request share a
// topic, so a slow caller costs no memory and does not delay others.
type feed struct {
	js  jetstream.JetStream
	sub *nats.Subscription
	log *slog.Logger

	draining chan struct{} // closed by drain: follows end
	drained  sync.Once

	mu      sync.Mutex
	running map[export.ID]running
	topics  map[export.ID]*topic
}

// running is the latest progress of a running export.
type running struct {
	attempt, percent int
	at               time.Time
}

func newFeed(js jetstream.JetStream, log *slog.Logger) (*feed, error) {
	f := &feed{js: js, log: log, draining: make(chan struct{}), running: map[export.ID]running{}, topics: map[export.ID]*topic{}}
	var err error
	if f.sub, err = js.Conn().Subscribe(announcements, f.receive); err != nil {
		return nil, fmt.Errorf("listen for events: %w", err)
	}
	return f, nil
}

func (f *feed) drain() { f.drained.Do(func() { close(f.draining) }) }

func (f *feed) close() {
	f.drain()
	_ = f.sub.Unsubscribe() // fails only on a closed connection
}

// receive handles one live event. It uses the content of progress only. Other events are a hint to read
// the stream.
func (f *feed) receive(m *nats.Msg) {
	tokens := strings.Split(m.Subject, ".")
	if len(tokens) != 4 {
		return
	}
	id := export.ID{Project: tokens[2], Request: tokens[3]}
	kind := tokens[0] + "." + tokens[1]
	if kind == events.TypeCall { // with as many tokens as an announcement
		return
	}
	if kind != events.TypeProgress {
		f.mu.Lock()
		if kind == events.TypeCompleted || kind == events.TypeFailed {
			delete(f.running, id)
		}
		t := f.topics[id]
		f.mu.Unlock()
		if t != nil {
			t.hint()
		}
		return
	}
	e, err := events.DecodeEvent(events.Message{Subject: m.Subject, Body: m.Data})
	if err != nil || e.Progress == nil {
		return // any process with the right to publish could have sent it
	}
	p := running{attempt: e.Progress.Attempt, at: time.Now()}
	if e.Progress.EstimatedBytes > 0 {
		const most = 99 // the total is an estimate
		p.percent = int(min(most, 100*e.Progress.SizeBytes/e.Progress.EstimatedBytes))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.running[id]; !known { // before it grows
		for other, r := range f.running {
			if p.at.Sub(r.at) > staleProgress {
				delete(f.running, other)
			}
		}
	}
	f.running[id] = p
	if t := f.topics[id]; t != nil {
		t.progressed(occurrence{kind: events.TypeProgress, body: compact(m.Data)})
	}
}

// percent returns the progress of an attempt; nil: there is no recent progress.
func (f *feed) percent(id export.ID, attempt int) *int {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.running[id]
	if !ok || r.attempt != attempt || time.Since(r.at) > staleProgress {
		return nil
	}
	return &r.percent
}

// occurrence is one event for callers.
type occurrence struct {
	id   string // "": not stored; a stream cannot resume from it
	kind string
	body []byte
	at   time.Time
}

// over reports whether the event is the last one that callers wait for.
func (o occurrence) over() bool {
	return slices.Contains([]string{events.TypeFailed, events.TypeVerified, events.TypeVerificationFailed}, o.kind)
}

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

// follow returns the topic of a request. The caller must call leave.
func (f *feed) follow(id export.ID) *topic {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.topics[id]
	if t == nil {
		ctx, stop := context.WithCancel(context.Background())
		t = &topic{id: id, js: f.js, log: f.log, stop: stop, hints: make(chan struct{}, 1), next: map[string]uint64{}, changed: make(chan struct{})}
		f.topics[id] = t
		go t.run(ctx)
	}
	t.users++
	return t
}

// leave ends a follow. The last leave ends the topic.
func (f *feed) leave(t *topic) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.users--; t.users == 0 {
		t.stop()
		delete(f.topics, t.id)
	}
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
