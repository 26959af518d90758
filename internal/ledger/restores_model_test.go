package ledger_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/ledger"
	"github.com/pgcourier/pgcourier/internal/restore/operation"
)

// restoreHistories is how many histories the first test runs. A longer run:
// go test ./internal/ledger -run TestRestores -restore-histories=5000
var restoreHistories = flag.Uint64("restore-histories", 80, "histories of the restores' model")

// The protocol of restores as a property. The runner, the reaper, the sweeper and the ledger are the
// real ones. The targets and the queue are small worlds. A restorer pauses before and after each call,
// may crash there, and may go on after its lease has ended and others have taken over.
func TestRestoresKeepTheirPromises(t *testing.T) {
	t.Parallel()
	b := setup(t)
	saw := map[string]int{}
	for seed := range *restoreHistories {
		m := newRestoreModel(t, b, restoreMutation{}, evenly(seed))
		if err := m.run(); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(m.trace, "\n"))
		}
		for what, n := range m.saw {
			saw[what] += n
		}
	}
	for _, what := range []string{
		"is asked for again with its id", "a newer release refuses the request", "commits", "is refused by a tombstone", "finds that it has committed", "refuses", "finds on refusing that it has committed", "crashes",
		"completed", "failed", "unknown", "cancelled", "loses the reply of COMMIT", "cannot reach the target", "the target moves",
	} {
		if saw[what] == 0 {
			t.Errorf("in no history: %s", what)
		}
	}
	t.Logf("in the histories: %v", saw)
}

const (
	unchanged   promise = "a restore that failed has changed no target"
	changedOnce promise = "a restore changes its target once"
	changed     promise = "a restore that completed has changed its target"
	patience    promise = "a restore is unknown only after its target was asked for more than two hours"
	oneEnd      promise = "the outcome of a restore never changes"
	allEnd      promise = "each restore ends"
)

// restoreMutation is a fault in the protocol of restores.
type restoreMutation struct {
	noRefusal   bool // the target is not asked to refuse before a restore ends as failed
	noIntent    bool // the ledger does not have it that an attempt begins to place
	noLook      bool // neither an attempt nor the target looks for an earlier commit
	oneIdentity bool // another target counts as the one that the restore began in
	blindReaper bool // the reaper fails what it finds, without asking the target
	noMarker    bool // the marker's id is that of the restore alone
	// unconditional: an attempt records its failure even though an earlier one has begun to place and
	// the target was not asked.
	unconditional bool
	impatient     bool // the time until a restore is unknown counts from the end of its last lease
}

// The same model must catch each mutant with a break of the named promise.
func TestTheRestoresModelCatchesEachMutant(t *testing.T) {
	t.Parallel()
	const within = 400 // histories; see the log for how many were needed
	for name, tc := range map[string]struct {
		wrong  restoreMutation
		breaks promise
	}{
		"no refusal":   {restoreMutation{noRefusal: true}, unchanged},
		"no intent":    {restoreMutation{noIntent: true}, unchanged},
		"no look":      {restoreMutation{noLook: true}, changedOnce},
		"one identity": {restoreMutation{oneIdentity: true}, unchanged},
		"blind reaper": {restoreMutation{blindReaper: true}, unchanged},
		"no marker":    {restoreMutation{noMarker: true}, changed},
		"no condition": {restoreMutation{unconditional: true}, unchanged},
		"impatient":    {restoreMutation{impatient: true}, patience},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			for seed := range uint64(within) {
				err := newRestoreModel(t, b, tc.wrong, evenly(seed)).run()
				if broken, ok := errors.AsType[*brokenError](err); ok && broken.promise == tc.breaks {
					t.Logf("caught by history %d: %v", seed+1, err)
					return
				}
			}
			t.Errorf("not caught within %d histories", within)
		})
	}
}

// restoreModel is one history.
type restoreModel struct {
	t     testing.TB
	b     *bench
	led   *ledger.Restores
	wrong restoreMutation
	draw  draw
	trace []string
	saw   map[string]int

	messages  []*message
	restorers []*restorer
	markers   [2]map[string]string // of each target: "committed" or "refused"
	lives     map[export.ID]int    // how often the ledger has forgotten a restore with this id
	commits   map[life]int
	target    int  // where the control plane sends restores now
	down      bool // the target cannot be reached
	doubtful  bool // the target was down or moved at some time
	hour      int
	asked     map[export.ID][]int // in which hours the target was asked and has not answered since
	ends      map[export.ID]export.Outcome
	sweeper   *export.Sweeper
	calm      bool
	broken    error
}

// life is one of the restores that use the same id one after the other.
type life struct {
	export.ID
	number int
}

func (m *restoreModel) life(id export.ID) life { return life{id, m.lives[id]} }

func newRestoreModel(t testing.TB, b *bench, wrong restoreMutation, d draw) *restoreModel {
	t.Helper()
	b.exec(t, "TRUNCATE pgcourier.restores CASCADE")
	m := &restoreModel{
		t: t, b: b, led: b.Restores(), wrong: wrong, draw: d, saw: map[string]int{}, commits: map[life]int{}, ends: map[export.ID]export.Outcome{},
		markers: [2]map[string]string{{}, {}}, lives: map[export.ID]int{}, asked: map[export.ID][]int{},
	}
	var reaper export.Reaper = m.reaper(m.led, nil)
	if wrong.blindReaper {
		reaper = blindReaper{m}
	}
	m.sweeper = export.NewSweeper(export.SweeperConfig{
		Reaper: reaper, Queue: restoreQueue{m}, Announcer: restoreAnnouncer{m}, Rescue: func(_ context.Context, d export.QueuedRequest) {
			m.hire(m.messages[d.Delivery.Sequence-1])
		},
		Grace: time.Nanosecond, Log: slog.New(slog.DiscardHandler),
	})
	return m
}

func (m *restoreModel) reaper(led operation.Ledger, w *restorer) *operation.Reaper {
	return &operation.Reaper{Ledger: asking{led, m}, Targets: targets{m}, Engine: targetWorld{m, w}, UnknownAfter: 150 * time.Minute}
}

func (m *restoreModel) say(what string) {
	m.saw[what]++
	m.trace = append(m.trace, what)
}

func (m *restoreModel) fail(p promise, format string, args ...any) {
	if m.broken == nil {
		m.broken = &brokenError{p, fmt.Sprintf(format, args...)}
	}
}

func (m *restoreModel) chance(label string, n int) bool { return !m.calm && m.draw(label, n) == n-1 }

func (m *restoreModel) run() error {
	defer func() { // no goroutine outlives its history
		for len(m.restorers) > 0 {
			m.restorers[0].crash()
		}
	}()
	for range 30 + m.draw("steps", 80) {
		m.act()
		if m.check(); m.broken != nil {
			return m.broken
		}
	}
	m.settle()
	for _, msg := range slices.Clone(m.messages) {
		if m.broken == nil && m.draw("reuse", 4) == 0 {
			m.reuse(msg)
		}
	}
	m.settle()
	return m.broken
}

func (m *restoreModel) act() {
	switch a := m.draw("action", 32); {
	case len(m.messages) == 0 || a == 0 && len(m.messages) < 2:
		m.publish()
	case a < 19 && len(m.restorers) > 0:
		m.restorers[m.draw("restorer", len(m.restorers))].step()
	case a < 20 && len(m.restorers) > 0:
		m.restorers[m.draw("restorer", len(m.restorers))].crash()
	case a < 22:
		m.say("leases end")
		m.expire()
	case a < 24:
		m.sweep()
	case a < 25:
		m.cancel()
	case a < 26:
		m.down = !m.down
		m.doubtful = true
	case a < 27 && m.draw("move", 4) == 0:
		m.say("the target moves")
		m.target, m.doubtful = 1-m.target, true
	case a < 29:
		m.reuse(m.messages[m.draw("message", len(m.messages))])
	default:
		m.deliver(m.messages[m.draw("message", len(m.messages))])
	}
}

// reuse has the ledger forget a restore that is over, and asks for another one with the same id. The
// ledger keeps a restore longer than a restorer can be paused.
func (m *restoreModel) reuse(msg *message) {
	id := msg.request.ID
	if slices.ContainsFunc(m.restorers, func(w *restorer) bool { return w.msg.request.ID == id }) ||
		slices.ContainsFunc(m.messages, func(other *message) bool { return other.request.ID == id && !other.gone }) {
		return
	}
	m.b.exec(m.t, "DELETE FROM pgcourier.restores WHERE request_id = $1 AND published_at IS NOT NULL", id.Request)
	if e, err := m.led.Get(m.t.Context(), id); err != nil || e != nil {
		return
	}
	delete(m.ends, id)
	delete(m.asked, id)
	m.lives[id]++
	m.say("is asked for again with its id")
	m.ask(id.Request)
}

func (m *restoreModel) publish() { m.ask(fmt.Sprintf("r%d", len(m.messages)+1)) }

func (m *restoreModel) ask(id string) {
	q := request(id, `{"project_id":"acme","restore_id":"`+id+`","from":{"project_id":"acme","request_id":"x"},"mode":"replace"}`)
	m.messages = append(m.messages, &message{request: q, sequence: uint64(len(m.messages) + 1)})
	m.trace = append(m.trace, "published "+id)
}

func (m *restoreModel) deliver(msg *message) {
	if msg.gone || msg.number == deliveries {
		return
	}
	msg.number++
	m.hire(msg)
}

func (m *restoreModel) cancel() {
	id := m.messages[m.draw("cancel", len(m.messages))].request.ID
	m.say("cancels")
	c, err := m.led.Cancel(m.t.Context(), id, "ann")
	if err != nil && !errors.Is(err, export.ErrUnknown) {
		m.fail(soundLedger, "cancel: %v", err)
	}
	if c.Outcome != nil {
		m.end(*c.Outcome)
	}
}

// expire lets an hour pass.
func (m *restoreModel) expire() {
	m.hour++
	m.b.exec(m.t, `UPDATE pgcourier.restores SET touched_at = touched_at - interval '1 hour', lease_until = lease_until - interval '1 hour',
		unanswered_at = unanswered_at - interval '1 hour', unanswered_since = unanswered_since - interval '1 hour'`)
}

func (m *restoreModel) sweep() {
	m.trace = append(m.trace, "sweep")
	if err := m.sweeper.Sweep(m.t.Context()); err != nil && m.calm && !m.doubtful {
		m.fail(soundLedger, "a sweep without faults failed: %v", err)
	}
}

// check looks at the ledger: no state of it may contradict the targets.
func (m *restoreModel) check() {
	for _, msg := range m.messages {
		id := msg.request.ID
		if n := m.commits[m.life(id)]; n > 1 {
			m.fail(changedOnce, "%s committed %d times", id, n)
		}
	}
	outs, err := m.led.Unpublished(m.t.Context(), 0, 100)
	if err != nil {
		m.fail(soundLedger, "%v", err)
	}
	for _, out := range outs {
		m.end(out)
	}
	for id, out := range m.ends {
		committed := m.commits[m.life(id)] > 0
		switch {
		case out.State == export.Completed && !committed:
			m.fail(changed, "%s completed, and no target has it", id)
		case out.State == export.Failed && out.Code != codes.RestoreUnknown && committed:
			m.fail(unchanged, "%s failed with %s, and a target has committed it", id, out.Code)
		case out.Code == codes.RestoreUnknown && !m.doubtful:
			m.fail(unchanged, "%s is unknown, and the target always answered", id)
		}
	}
}

// end records an outcome as the ledger has it, or as a restorer announces it.
func (m *restoreModel) end(out export.Outcome) {
	was, known := m.ends[out.ID]
	if !known {
		m.ends[out.ID] = out
		switch out.Code {
		case codes.RestoreUnknown:
			m.say("unknown")
		case codes.Cancelled:
			m.say("cancelled")
		default:
			m.say(string(out.State))
		}
		return
	}
	if was.State != out.State || was.Code != out.Code {
		m.fail(oneEnd, "%s was %s %s and is %s %s", out.ID, was.State, was.Code, out.State, out.Code)
	}
}

// settle ends the faults and lets time pass until every restore has ended.
func (m *restoreModel) settle() {
	m.calm, m.down = true, false
	m.trace = append(m.trace, "calm")
	for range 6 { // enough for a restore to become unknown
		for _, msg := range m.messages {
			m.deliver(msg)
		}
		for len(m.restorers) > 0 && m.broken == nil {
			m.restorers[m.draw("restorer", len(m.restorers))].step()
			m.check()
		}
		m.expire()
		m.sweep()
		m.check()
	}
	for _, msg := range m.messages {
		if _, over := m.ends[msg.request.ID]; !over && m.broken == nil && msg.number > 0 {
			m.fail(allEnd, "%s has no outcome", msg.request.ID)
		}
	}
}

// restorer runs one delivery on a goroutine that goes on only when the model lets it.
type restorer struct {
	m      *restoreModel
	msg    *message
	name   string
	resume chan bool // true: crash
	paused chan struct{}
}

func (m *restoreModel) hire(msg *message) {
	w := &restorer{m: m, msg: msg, name: fmt.Sprintf("restorer %d.%d", msg.sequence, msg.number), resume: make(chan bool), paused: make(chan struct{})}
	d, req := msg.delivery(), msg.request
	if e, err := m.led.Get(m.t.Context(), req.ID); err == nil && e != nil && m.chance("refuses", 8) {
		m.say("a newer release refuses the request")
		req.Refusal = &export.Fault{Code: codes.InvalidRequest, Message: "refused"}
	}
	led := pausing{m.led, w}
	runner := operation.New(operation.Config{
		Ledger: led, Targets: targets{m}, Exports: exportsWorld{}, Engine: targetWorld{m, w}, Observer: silentObserver{}, Reaper: m.reaper(led, w),
		Lease: time.Hour, MaxAttempts: 3, Worker: w.name, Log: slog.New(slog.DiscardHandler),
	})
	m.restorers = append(m.restorers, w)
	go func() {
		defer close(w.paused)
		w.pause()
		out, err := runner.RunDead(context.Background(), req, d)
		w.pause()
		if err != nil {
			m.trace = append(m.trace, fmt.Sprintf("%s: %v", w.name, err))
			return
		}
		m.end(out)
		w.pause()
		if err := m.led.MarkPublished(context.Background(), out.ID); err != nil {
			m.fail(soundLedger, "%v", err)
		}
		w.msg.gone = true
	}()
	<-w.paused
}

// pause gives the turn back to the model. nil: the caller is the model itself.
func (w *restorer) pause() {
	if w == nil {
		return
	}
	w.paused <- struct{}{}
	if <-w.resume {
		exitGoroutine()
	}
}

func (w *restorer) step() { w.proceed(false) }

func (w *restorer) crash() {
	w.m.say("crashes")
	w.proceed(true)
}

func (w *restorer) proceed(crash bool) {
	w.resume <- crash
	for {
		if _, paused := <-w.paused; !paused {
			break
		}
		if !crash {
			return
		}
		w.resume <- true // a deferred call
	}
	for i, o := range w.m.restorers {
		if o == w {
			w.m.restorers = append(w.m.restorers[:i], w.m.restorers[i+1:]...)
			return
		}
	}
}
