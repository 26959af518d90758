package consumer_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// trial collects faults, which may be caused by a slow machine.
type trial struct {
	testing.TB
	mu     sync.Mutex
	faults []string
}

func (t *trial) Error(args ...any)                 { t.fault(fmt.Sprintln(args...)) }
func (t *trial) Errorf(format string, args ...any) { t.fault(fmt.Sprintf(format, args...)) }
func (t *trial) Fatal(args ...any)                 { t.fault(fmt.Sprintln(args...)); runtime.Goexit() }
func (t *trial) Fatalf(format string, args ...any) {
	t.fault(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func (t *trial) fault(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = append(t.faults, text)
}

// punctual runs a test in which nothing may expire, with a short AckWait. If it fails and the
// machine was late by a part of AckWait, a heartbeat may have been late too: the test runs again
// with a longer AckWait.
func punctual(t *testing.T, run func(t testing.TB, ackWait time.Duration)) {
	t.Helper()
	for wait := ackWait; ; wait *= 3 {
		one, late := &trial{TB: t}, lateness(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			run(one, wait)
		}()
		<-done
		by := late()
		if len(one.faults) == 0 {
			return
		}
		if by < wait/8 || wait > 10*time.Second {
			for _, f := range one.faults {
				t.Errorf("with an AckWait of %s, late by %s: %s", wait, by, f)
			}
			return
		}
		t.Logf("with an AckWait of %s the machine was late by %s: %q", wait, by, one.faults)
	}
}

// lateness measures how late this process wakes up and how late the broker answers, until the
// returned function is called.
func lateness(t *testing.T) (late func() time.Duration) {
	t.Helper()
	nc := brokertest.Connect(t, shared.ClientURL())
	var most atomic.Int64
	stop := make(chan struct{})
	var measuring sync.WaitGroup
	measure := func(allowed time.Duration, do func()) {
		for {
			begun := time.Now()
			do()
			most.Store(max(most.Load(), int64(time.Since(begun)-allowed)))
			select {
			case <-stop:
				return
			default:
			}
		}
	}
	const every = 10 * time.Millisecond
	tick := time.NewTicker(every)
	measuring.Go(func() {
		measure(2*every, func() { // an answer, and then a tick that may have been missed
			_, _ = nc.Request("$JS.API.INFO", nil, brokertest.Timeout) // late or not
			<-tick.C
		})
	})
	return func() time.Duration {
		close(stop)
		measuring.Wait()
		tick.Stop()
		return time.Duration(most.Load())
	}
}
