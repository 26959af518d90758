package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// message is one message in the queue.
type message struct {
	request  export.Request
	sequence uint64
	number   int  // deliveries so far
	gone     bool // acknowledged or removed

	published time.Time
}

const deliveries = 3

func (msg *message) delivery() delivery.Delivery {
	return delivery.Delivery{
		EventID: fmt.Sprintf("q-%d", msg.sequence), Number: msg.number, Last: msg.number == deliveries,
		Stream: "q", Sequence: msg.sequence,
	}
}

// publish puts a request into the queue: a new one, the same again, or another one under a used id.
func (m *model) publish() {
	id, payload := []string{"r1", "r2"}[m.draw("id", 2)], []string{"a", "a", "b"}[m.draw("payload", 3)]
	for m.forgotten[acme(id)] {
		id += "-new"
	}
	msg := &message{request: request(id, payload), sequence: uint64(len(m.messages) + 1), published: time.Now()}
	m.messages = append(m.messages, msg)
	m.say("message %d: %s with payload %s", msg.sequence, id, payload)
}

// deliver gives a message to a worker. AckWait may pass at any time, so another worker may still
// have it.
func (m *model) deliver(msg *message) {
	if msg.gone || msg.number == deliveries {
		return
	}
	msg.number++
	if m.wrong.earlyAck {
		msg.gone = true
	}
	m.hire(msg)
}

// lose removes a message as a broker does when its disk was not synced. A request in the ledger
// survives that.
func (m *model) lose(msg *message) {
	digests := m.digests()
	if _, known := digests[msg.id(digests)]; known && !msg.gone {
		m.say("the queue loses message %d", msg.sequence)
		msg.gone = true
	}
}

// loseCommit takes the end of an announced export from the ledger, as a fail-over to a standby without the
// last commits does. No worker runs then.
func (m *model) loseCommit() {
	for _, e := range m.entries() {
		if _, there := m.stream[e.ID]; !there || e.State != export.Completed || e.RemovedAt != nil {
			continue
		}
		m.exec(m.t, "UPDATE pgcourier.requests SET state = 'running', lease_until = clock_timestamp() - interval '1 s', outcome = NULL, finished_at = NULL, published_at = NULL WHERE project_id = $1 AND request_id = $2",
			e.ID.Project, e.ID.Request)
		m.exec(m.t, "UPDATE pgcourier.attempts SET result = 'running', ended_at = NULL WHERE project_id = $1 AND request_id = $2 AND attempt = $3",
			e.ID.Project, e.ID.Request, e.Outcome.Attempt)
		m.saw["is lost"]++
		m.say("the ledger loses the end of %s", e.ID)
		return
	}
}

// announced is the stream of outcomes, as the protocol reads it.
type announced struct{ m *model }

func (a announced) Completed(_ context.Context, id export.ID) (*export.Manifest, error) {
	if a.m.saw["is lost"] > 0 && a.m.chance("stream unreachable", 2) {
		return nil, errFault
	}
	o, there := a.m.stream[id]
	if !there || o.State != export.Completed {
		return nil, nil //nolint:nilnil // none was announced
	}
	return &export.Manifest{Version: 1, Outcome: o, Key: a.m.key(export.Token{ID: id, Attempt: o.Attempt})}, nil
}

// id is the id of a message's outcome: a conflict has one of its own.
func (msg *message) id(digests map[export.ID][32]byte) export.ID {
	id := msg.request.ID
	if d, there := digests[id]; there && d != msg.request.Digest {
		id.Request = msg.delivery().EventID
	}
	return id
}

// object is an object in the storage.
type object struct {
	by    export.Token
	whole bool
}

// key is the key of an attempt's object.
func (m *model) key(t export.Token) string {
	if m.wrong.sharedObjectKey {
		return t.ID.String()
	}
	return claimOf(export.Request{ID: t.ID}, 1).Object(t.Attempt)
}

// errFault is a fault of the world around the sweeper.
var errFault = errors.New("fault")

// meanwhile lets a worker take a step in the middle of a sweep.
func (m *model) meanwhile() {
	if len(m.workers) > 0 && m.chance("meanwhile", 4) {
		m.workers[m.draw("worker", len(m.workers))].step()
	}
}

type queue struct{ m *model }

func (q queue) Dead(context.Context) ([]export.QueuedRequest, error) {
	var dead []export.QueuedRequest
	for _, msg := range q.m.messages {
		if !msg.gone && msg.number == deliveries && !q.m.wrong.noReaper {
			dead = append(dead, export.QueuedRequest{Request: msg.request, Delivery: msg.delivery()})
		}
	}
	return dead, nil
}

func (q queue) Holds(_ context.Context, _ string, sequence uint64) (bool, error) {
	q.m.meanwhile()
	return !q.m.messages[sequence-1].gone, nil
}

// Oldest is much later, so that the sweeper's allowance for clocks does not hide what is tested.
func (q queue) Oldest(context.Context) (time.Time, error) {
	for _, msg := range q.m.messages {
		if !msg.gone && !q.m.wrong.carelessForgetting {
			return msg.published.Add(24 * time.Hour), nil
		}
	}
	return time.Time{}, nil
}

func (q queue) Remove(_ context.Context, d delivery.Delivery) error {
	q.m.meanwhile()
	if q.m.chance("remove fails", 4) {
		return errFault
	}
	q.m.messages[d.Sequence-1].gone = true
	return nil
}

// rescuer starts a worker for a message that used up its deliveries while it waited.
type rescuer struct{ m *model }

func (a rescuer) rescue(_ context.Context, d export.QueuedRequest) {
	msg := a.m.messages[d.Delivery.Sequence-1]
	for _, w := range a.m.workers {
		if w.rescued {
			return // one at a time
		}
	}
	a.m.hire(msg)
	w := a.m.workers[len(a.m.workers)-1]
	w.rescued, w.ask.Delivery.Last = true, false
	w.say("adopts")
}

type announcer struct{ m *model }

func (a announcer) Announce(ctx context.Context, o export.Outcome) error {
	a.m.meanwhile()
	if a.m.chance("announce fails", 4) {
		return errFault
	}
	if !a.m.wrong.markBeforePublish {
		a.m.announce(o)
	}
	a.m.meanwhile()
	if a.m.chance("mark fails", 4) {
		return errFault
	}
	if a.m.unless(a.m.MarkPublished(ctx, o.ID)); a.m.chance("announce fails after the mark", 4) {
		return errFault
	}
	a.m.announce(o)
	return nil
}

// announce publishes; the stream refuses a second outcome of a request.
func (m *model) announce(o export.Outcome) {
	if _, there := m.stream[o.ID]; !there {
		m.say("announced %s: %s of attempt %d", o.ID, o.State, o.Attempt)
		m.stream[o.ID] = o
	}
}

type reaping struct{ m *model }

func (r reaping) Unpublished(ctx context.Context, age time.Duration, limit int) ([]export.Outcome, error) {
	if r.m.wrong.noReaper {
		return nil, nil
	}
	return r.m.Unpublished(ctx, age, limit)
}

func (r reaping) Stranded(ctx context.Context, grace time.Duration, limit int) ([]export.Stranded, error) {
	if r.m.wrong.noReaper {
		return nil, nil
	}
	return r.m.Stranded(ctx, grace, limit)
}

func (r reaping) FailStranded(ctx context.Context, s export.Stranded, grace time.Duration) (export.Outcome, error) {
	r.m.meanwhile()
	return r.reaped(r.m.FailStranded(ctx, s, grace))
}

func (r reaping) FailUnclaimed(ctx context.Context, q export.Request, d delivery.Delivery, grace time.Duration) (export.Outcome, error) {
	r.m.meanwhile()
	return r.reaped(r.m.FailUnclaimed(ctx, q, d, grace))
}

// reaped undoes the fence for the mutant and loses some replies.
func (r reaping) reaped(o export.Outcome, err error) (export.Outcome, error) {
	if err == nil && o.Code == codes.WorkerLost && r.m.wrong.unboundReaper {
		r.m.unbind(o)
	}
	if r.m.chance("reap's reply lost", 4) {
		return export.Outcome{}, export.ErrLedgerUnavailable
	}
	return o, err
}

type collecting struct{ m *model }

func (c collecting) Collectable(ctx context.Context, limit int) ([]export.Leftover, error) {
	left, err := c.m.Collectable(ctx, limit)
	if c.m.wrong.carelessCollector {
		left = append(left, c.m.expired()...)
	}
	return left, err
}

func (c collecting) Collected(ctx context.Context, objects []export.Leftover) error {
	c.m.meanwhile()
	err := c.m.Collected(ctx, objects)
	if c.m.wrong.singleLook {
		c.m.exec(c.m.t, "UPDATE pgcourier.attempts SET collect_after = NULL WHERE looks > 0")
	}
	return err
}

type forgetting struct{ m *model }

func (f forgetting) Forget(ctx context.Context, keep time.Duration, before time.Time, limit int) (int, error) {
	m := f.m
	m.meanwhile()
	// LEDGER_RETENTION is long: no worker pauses for so long, and an id that is used again after it
	// means another export.
	for _, w := range m.workers {
		if w.msg.gone {
			return 0, nil
		}
	}
	was := m.entries()
	for _, e := range was {
		for _, msg := range m.messages {
			if e.Outcome != nil && !msg.gone && msg.request.ID == e.ID && msg.published.After(e.Outcome.FinishedAt) {
				return 0, nil
			}
		}
	}
	m.check() // a forgotten request was seen before
	n, err := m.Forget(ctx, keep, before, limit)
	for _, e := range was {
		m.forgotten[e.ID] = true
	}
	for _, e := range m.entries() {
		delete(m.forgotten, e.ID)
	}
	if n > 0 {
		m.saw["is forgotten"]++
		m.say("forgotten: %d", n)
	}
	return n, err
}

// remove deletes a completed export, as `rm` does.
func (m *model) remove() {
	for _, e := range m.entries() {
		if e.State == export.Completed && e.RemovedAt == nil {
			_, err := m.Remove(m.t.Context(), e.ID)
			m.unless(err)
			m.say("removed %s", e.ID)
			delete(m.storage, m.key(export.Token{ID: e.ID, Attempt: e.Outcome.Attempt}))
			return
		}
	}
}

// storage deletes for the sweeper; the workers write into the map.
type storage struct {
	export.Store
	m *model
}

func (s storage) Put(context.Context, string, io.Reader, func() export.Manifest) ([]export.Copy, error) {
	return nil, errFault // a sweeper stores nothing
}

func (s storage) Delete(_ context.Context, key string) error {
	s.m.meanwhile()
	if s.m.chance("delete fails", 4) {
		return errFault
	}
	if s.m.wrong.sharedObjectKey { // "acme/r1.2.sql.gz" lies under "acme/r1"
		key, _, _ = strings.Cut(key, ".")
	}
	s.m.say("collected %s", key)
	delete(s.m.storage, key)
	return nil
}

// check looks for a broken promise.
func (m *model) check() {
	if m.broken != nil {
		return
	}
	for _, e := range m.entries() {
		if e.Outcome == nil {
			continue
		}
		was, seen := m.ends[e.ID]
		if !seen {
			m.ends[e.ID] = *e.Outcome
		} else if differ(was, *e.Outcome) {
			m.fail(oneOutcome, "%s ended as %s of attempt %d and is now %s of attempt %d", e.ID, was.State, was.Attempt, e.Outcome.State, e.Outcome.Attempt)
		}
		if e.Outcome.State == export.Completed && e.RemovedAt == nil {
			winner := export.Token{ID: e.ID, Attempt: e.Outcome.Attempt}
			if o, there := m.storage[m.key(winner)]; !there || !o.whole || o.by != winner {
				m.fail(wholeObject, "%s is completed by attempt %d and its object is not there, whole and its own: %+v", e.ID, winner.Attempt, o)
			}
		}
	}
	for project, n := range m.running() {
		if n > 1 {
			m.fail(oneAtATime, "%d of %s run", n, project)
		}
	}
	for id, o := range m.stream {
		if end, ended := m.ends[id]; ended && differ(end, o) {
			m.fail(trueEvent, "%s was announced as %s of attempt %d, the ledger says %s of attempt %d", id, o.State, o.Attempt, end.State, end.Attempt)
		}
	}
}

func differ(a, b export.Outcome) bool {
	return a.State != b.State || a.Attempt != b.Attempt || a.Code != b.Code || !a.FinishedAt.Equal(b.FinishedAt)
}

// checkEnd checks the final state: every message has led to an outcome, and only the completed
// objects are left.
func (m *model) checkEnd() {
	entries, digests := m.entries(), m.digests()
	for _, msg := range m.messages {
		if _, there := m.stream[msg.id(digests)]; !there {
			m.fail(oneOutcome, "message %d has no outcome", msg.sequence)
		}
	}
	for id := range m.stream {
		if _, ended := m.ends[id]; !ended {
			m.fail(trueEvent, "%s was announced and has not ended", id)
		}
	}
	kept := map[string]bool{}
	for _, e := range entries {
		if e.Outcome == nil {
			m.fail(oneOutcome, "%s has not ended: %s", e.ID, e.State)
		} else if e.State == export.Completed && e.RemovedAt == nil {
			kept[m.key(export.Token{ID: e.ID, Attempt: e.Outcome.Attempt})] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m.storage)) {
		if !kept[key] {
			m.fail(nothingLeft, "%s", key)
		}
	}
	for _, msg := range m.messages {
		if !msg.gone {
			m.fail(nothingLeft, "message %d is still in the queue", msg.sequence)
		}
	}
}
