package ledger_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pgcourier/pgcourier/internal/export"
)

// The protocol as a property: workers that crash and pause between any two steps, a queue that
// delivers at least once and at most three times, a storage, a stream that accepts one outcome for
// each request, and the real sweeper, all on the real ledger, which can lose the commit of an announced
// export. The promises must hold after every step and at the end.
//
// A longer run: go test ./internal/ledger -run TestTheProtocolKeepsItsPromises -rapid.checks=20000
func TestTheProtocolKeepsItsPromises(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(t, b, mutation{}, func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(rt, label) })
		if err := m.run(); err != nil {
			rt.Fatalf("%v\n%s", err, strings.Join(m.trace, "\n"))
		}
	})
	// rapid prefers small numbers, which shrink well; the same with even ones.
	saw := map[string]int{}
	for seed := range uint64(60) {
		m := newModel(t, b, mutation{}, evenly(seed))
		if err := m.run(); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(m.trace, "\n"))
		}
		for what, n := range m.saw {
			saw[what] += n
		}
	}
	// Promises hold easily in a history where nothing happens.
	for _, what := range []string{
		"claims", "stands by", "waits for its turn", "finds it ended", "finds a conflict", "renews", "crashes", "fails to dump", "is to be tried again",
		"is superseded", "learns that it is superseded", "deletes what it stored", "commits completed", "commits failed", "acknowledges", "adopts", "is forgotten", "is lost",
	} {
		if saw[what] == 0 {
			t.Errorf("in no history a worker or a request %s", what)
		}
	}
	t.Logf("in the even histories: %v", saw)
}

// promise is a promise that a history can break.
type promise string

const (
	oneOutcome   promise = "each request ends in one outcome"
	trueEvent    promise = "what is announced is what the ledger says"
	wholeObject  promise = "what is completed is stored, whole and its own"
	nothingLeft  promise = "nothing is left behind"
	losersSilent promise = "a superseded attempt changes nothing"
	oneAtATime   promise = "one export of a project runs at a time"
	soundLedger  promise = "the ledger answers"
)

// brokenError says which promise a history broke, and how.
type brokenError struct {
	promise promise
	how     string
}

func (e *brokenError) Error() string { return string(e.promise) + ": " + e.how }

// mutation is a fault in the protocol.
type mutation struct {
	stateOnlyGuard      bool // a commit looks at the state and not at the attempt
	sharedObjectKey     bool // the attempts of a request store under one key
	earlyAck            bool // the message is acknowledged before the claim
	publishBeforeCommit bool
	noReaper            bool
	lateIntentRow       bool // the object's key is recorded after the object is stored
	markBeforePublish   bool
	carelessCollector   bool // collects as soon as a lease has ended
	singleLook          bool // collects each object once only
	unboundReaper       bool // the reaper announces and leaves state and fence as they are
	noTurns             bool // a claim takes no notice of what else runs
	blindRenewal        bool // an expired lease is renewed although another request is running
	carelessForgetting  bool // a request is forgotten while its message is still in the queue
	trustingLedger      bool // takes what the ledger has lost for what never was
}

// The same model must catch each mutant with a break of the named promise, which shows what the
// model can detect. The seeds are fixed, so each is caught by the same run every time.
func TestTheModelCatchesEachMutant(t *testing.T) {
	t.Parallel()
	const within = 400 // runs; see the log for how many were needed
	for name, tc := range map[string]struct {
		wrong  mutation
		breaks promise
	}{
		"state-only guard":      {mutation{stateOnlyGuard: true}, wholeObject},
		"shared object key":     {mutation{sharedObjectKey: true}, wholeObject},
		"early ack":             {mutation{earlyAck: true}, oneOutcome},
		"publish before commit": {mutation{publishBeforeCommit: true}, trueEvent},
		"no reaper":             {mutation{noReaper: true}, oneOutcome},
		"late intent row":       {mutation{lateIntentRow: true}, nothingLeft},
		"mark before publish":   {mutation{markBeforePublish: true}, oneOutcome},
		"careless collector":    {mutation{carelessCollector: true}, wholeObject},
		"single look":           {mutation{singleLook: true}, nothingLeft},
		"unbound reaper":        {mutation{unboundReaper: true}, trueEvent},
		"no turns":              {mutation{noTurns: true}, oneAtATime},
		"blind renewal":         {mutation{blindRenewal: true}, oneAtATime},
		"careless forgetting":   {mutation{carelessForgetting: true}, oneOutcome},
		"trusting ledger":       {mutation{trustingLedger: true}, oneOutcome},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			for seed := range uint64(within) {
				err := newModel(t, b, tc.wrong, evenly(seed)).run()
				if broken, ok := errors.AsType[*brokenError](err); ok && broken.promise == tc.breaks {
					t.Logf("caught by run %d: %v", seed+1, err)
					return
				}
			}
			t.Errorf("not caught within %d runs", within)
		})
	}
}

// draw chooses a number below n.
type draw func(label string, n int) int

func evenly(seed uint64) draw {
	r := rand.New(rand.NewPCG(seed, 0))
	return func(_ string, n int) int { return r.IntN(n) }
}

// model is one history of a small world.
type model struct {
	*bench
	t     testing.TB
	wrong mutation
	draw  draw
	trace []string
	saw   map[string]int // what the workers did

	messages []*message
	workers  []*worker
	storage  map[string]object
	stream   map[export.ID]export.Outcome
	ends     map[export.ID]export.Outcome // as first seen in the ledger

	forgotten map[export.ID]bool
	announced *export.Announced
	sweeper   *export.Sweeper
	calm      bool  // no faults any more
	broken    error // the first promise seen to be broken
}

func newModel(t testing.TB, b *bench, wrong mutation, d draw) *model {
	t.Helper()
	b.exec(t, "TRUNCATE pgcourier.requests, pgcourier.attempts CASCADE")
	m := &model{
		bench: b, t: t, wrong: wrong, draw: d, saw: map[string]int{},
		storage: map[string]object{}, stream: map[export.ID]export.Outcome{}, ends: map[export.ID]export.Outcome{},
		forgotten: map[export.ID]bool{},
	}
	if !wrong.trustingLedger {
		m.announced = &export.Announced{Stream: announced{m}, Ledger: b.Ledger, Log: slog.New(slog.DiscardHandler)}
	}
	m.sweeper = export.NewSweeper(export.SweeperConfig{
		Announced: m.announced,
		Reaper:    reaping{m}, Collector: collecting{m}, Queue: queue{m}, Announcer: announcer{m}, Rescue: rescuer{m}.rescue, Store: storage{m: m},
		Cleaner: forgetting{m}, Keep: time.Nanosecond,
		Grace: time.Nanosecond, // the model controls time, see expire
		Log:   slog.New(slog.DiscardHandler),
	})
	return m
}

func (m *model) say(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
}

// fail records a broken promise.
func (m *model) fail(p promise, format string, args ...any) {
	if m.broken == nil {
		m.broken = &brokenError{p, fmt.Sprintf(format, args...)}
	}
}

// unless records an unexpected error of the ledger.
func (m *model) unless(err error) bool {
	if err != nil {
		m.fail(soundLedger, "%v", err)
	}
	return err == nil
}

// chance is true once in n, and never in the phase without faults.
func (m *model) chance(label string, n int) bool { return !m.calm && m.draw(label, n) == n-1 }

// run lets things happen and then settle.
func (m *model) run() error {
	for range 10 + m.draw("steps", 50) {
		m.act()
		if m.check(); m.broken != nil {
			return m.broken
		}
	}
	if m.settle(); m.broken == nil {
		m.checkEnd()
	}
	return m.broken
}

func (m *model) act() {
	switch a := m.draw("action", 28); {
	case len(m.messages) == 0 || a < 1 && len(m.messages) < 3:
		m.publish()
	case a < 11 && len(m.workers) > 0:
		m.workers[m.draw("worker", len(m.workers))].step()
	case a < 12 && len(m.workers) > 0:
		m.workers[m.draw("worker", len(m.workers))].crash()
	case a < 14 && len(m.workers) > 0:
		m.workers[m.draw("worker", len(m.workers))].renew()
	case a < 17:
		m.say("leases end")
		m.expire(m.t)
	case a < 20:
		m.sweep()
	case a < 21:
		m.lose(m.messages[m.draw("message", len(m.messages))])
	case a < 22:
		m.remove()
	default:
		m.deliver(m.messages[m.draw("message", len(m.messages))])
	}
}

func (m *model) sweep() {
	m.say("sweep")
	// The next sweep does what a fault prevented; a broken promise is recorded.
	if err := m.sweeper.Sweep(m.t.Context()); err != nil && m.calm {
		m.fail(soundLedger, "a sweep without faults failed: %v", err)
	}
}

// settle lets the workers end, and then, without faults, lets time pass until nothing changes.
func (m *model) settle() {
	for len(m.workers) > 0 && m.broken == nil {
		w := m.workers[m.draw("worker", len(m.workers))]
		if m.draw("last crash", 6) == 0 {
			w.crash()
		} else {
			w.step()
		}
		if m.draw("leases end", 4) == 0 {
			m.expire(m.t)
		}
		if m.draw("sweep", 4) == 0 {
			m.sweep()
		}
		m.check()
	}
	if m.draw("lost commit", 2) == 0 {
		m.loseCommit()
		m.sweep()
		m.check()
	}
	m.say("calm")
	m.calm = true
	for range 3 {
		for _, msg := range m.messages {
			m.deliver(msg)
			for len(m.workers) > 0 && m.broken == nil {
				m.expire(m.t)
				m.workers[0].step()
				m.check()
			}
		}
		m.expire(m.t)
		m.sweep()
	}
	for range 3 { // the looks that remain
		m.exec(m.t, "UPDATE pgcourier.attempts SET collect_after = clock_timestamp() WHERE collect_after IS NOT NULL")
		m.sweep()
	}
	m.check()
}
