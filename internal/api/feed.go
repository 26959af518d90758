package api

import (
	"context"
	"crypto/rand"
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

// restoreAnnouncements is the filter of all live events of restores.
const restoreAnnouncements = "restore.*.*.*"

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
	js       jetstream.JetStream
	sub      *nats.Subscription
	restores *nats.Subscription
	log      *slog.Logger

	draining chan struct{} // closed by drain: follows end
	drained  sync.Once

	mu      sync.Mutex
	running map[export.ID]running
	placing map[export.ID]running // restores
	topics  map[export.ID]*topic
	watches map[*Watch]struct{}
	changes uint64            // events other than progress so far
	changed map[string]uint64 // the last of them of each project
	process string            // names this feed: the counts of another process are others
}

// running is the latest progress of a running export or restore.
type running struct {
	attempt, percent int
	stage            string // of a restore
	at               time.Time
}

// most bounds the percentage: the total of an export is an estimate, and a restore is not over before its target
// has committed it.
const most = 99

func newFeed(js jetstream.JetStream, log *slog.Logger) (*feed, error) {
	f := &feed{js: js, log: log, draining: make(chan struct{}), running: map[export.ID]running{}, placing: map[export.ID]running{}, topics: map[export.ID]*topic{}, watches: map[*Watch]struct{}{},
		changed: map[string]uint64{}, process: rand.Text()}
	var err error
	if f.sub, err = js.Conn().Subscribe(announcements, f.receive); err != nil {
		return nil, fmt.Errorf("listen for events: %w", err)
	}
	if f.restores, err = js.Conn().Subscribe(restoreAnnouncements, f.receiveRestore); err != nil {
		f.close()
		return nil, fmt.Errorf("listen for events of restores: %w", err)
	}
	return f, nil
}

func (f *feed) drain() { f.drained.Do(func() { close(f.draining) }) }

func (f *feed) close() {
	f.drain()
	for _, s := range []*nats.Subscription{f.sub, f.restores} {
		if s != nil {
			_ = s.Unsubscribe() // fails only on a closed connection
		}
	}
}

// receiveRestore handles one live event of a restore. Events other than progress are a hint to look at the ledger.
func (f *feed) receiveRestore(m *nats.Msg) {
	tokens := strings.Split(m.Subject, ".")
	if len(tokens) != 4 {
		return
	}
	id := export.ID{Project: tokens[2], Request: tokens[3]}
	kind := tokens[0] + "." + tokens[1]
	if kind != events.TypeRestoreProgress {
		f.mu.Lock()
		defer f.mu.Unlock()
		if kind == events.TypeRestoreCompleted || kind == events.TypeRestoreFailed {
			delete(f.placing, id)
		}
		f.happened(id.Project)
		return
	}
	e, err := events.DecodeEvent(events.Message{Subject: m.Subject, Body: m.Data})
	if err != nil || e.RestoreProgress == nil {
		return // any process with the right to publish could have sent it
	}
	p := running{attempt: e.RestoreProgress.Attempt, stage: e.RestoreProgress.Stage, at: time.Now()}
	if e.RestoreProgress.StoredBytes > 0 {
		p.percent = int(min(most, 100*e.RestoreProgress.ReadBytes/e.RestoreProgress.StoredBytes))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keep(f.placing, id, p)
	for w := range f.watches {
		w.progressed(Progress{id, true, p.attempt, p.percent, p.stage})
	}
}

// keep keeps the latest progress of a running one, and drops what is stale. The caller holds mu.
func (*feed) keep(all map[export.ID]running, id export.ID, p running) {
	if _, known := all[id]; !known { // before it grows
		for other, r := range all {
			if p.at.Sub(r.at) > staleProgress {
				delete(all, other)
			}
		}
	}
	all[id] = p
}

// restoring returns the progress of an attempt at a restore; nil: there is no recent progress.
func (f *feed) restoring(id export.ID, attempt int) *RestoreProgress {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.placing[id]
	if !ok || r.attempt != attempt || time.Since(r.at) > staleProgress {
		return nil
	}
	return &RestoreProgress{r.stage, r.percent}
}

// happened tells the watches of a project that something changed in it. The caller holds mu.
func (f *feed) happened(project string) {
	f.changes++
	f.changed[project] = f.changes
	for w := range f.watches {
		w.changed(project)
	}
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
		f.happened(id.Project)
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
		p.percent = int(min(most, 100*e.Progress.SizeBytes/e.Progress.EstimatedBytes))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keep(f.running, id, p)
	for w := range f.watches {
		w.progressed(Progress{id, false, p.attempt, p.percent, ""})
	}
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
