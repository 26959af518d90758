package service

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

const (
	// extendEvery is the pause between two messages that ask for more time to start, extension the
	// time that each asks for. systemd would end a start after TimeoutStartSec, also one that waits
	// for another process's migration or for the embedded broker to read its streams.
	extendEvery = 30 * time.Second
	extension   = 2 * time.Minute
)

// manager tells systemd what this process does: starting, serving or draining, and that it is alive
// (sd_notify(3)). Without NOTIFY_SOCKET in the environment it does nothing. It is safe for concurrent
// use.
type manager struct {
	log      *slog.Logger
	on       bool
	watchdog time.Duration // systemd ends the process after this time without a sign of life; 0: never

	started   chan struct{} // closed when the start has ended
	extending sync.WaitGroup

	mu       sync.Mutex
	status   string // the last one sent
	ready    bool
	stopping bool
	failed   bool // a failure to send was logged
}

// newManager returns a manager that does nothing before begin.
func newManager(log *slog.Logger) *manager {
	return &manager{log: log, started: make(chan struct{})}
}

// begin begins to tell systemd, if it has started this process. Only one service of a process may
// begin, before its start.
func (m *manager) begin(ctx context.Context) {
	if m.on = os.Getenv("NOTIFY_SOCKET") != ""; !m.on {
		return
	}
	var err error
	if m.watchdog, err = daemon.SdWatchdogEnabled(false); err != nil {
		m.log.WarnContext(ctx, "systemd's watchdog is not served", "error", err)
	}
	m.extending.Go(m.extend)
}

// extend asks for more time until the start has ended.
func (m *manager) extend() {
	tick := time.NewTicker(extendEvery)
	defer tick.Stop()
	for {
		m.mu.Lock()
		m.send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", extension.Microseconds()))
		m.mu.Unlock()
		select {
		case <-m.started:
			return
		case <-tick.C:
		}
	}
}

// endStart ends extend. It may be called more than once, by one goroutine.
func (m *manager) endStart() {
	select {
	case <-m.started:
	default:
		close(m.started)
	}
	m.extending.Wait()
}

// serves says that the start is complete.
func (m *manager) serves(status string) {
	m.endStart()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopping {
		return
	}
	m.ready, m.status = true, status
	m.send("READY=1", "STATUS="+oneLine(status))
}

// stops says that the process drains.
func (m *manager) stops(status string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopping, m.status = true, status
	m.send("STOPPING=1", "STATUS="+oneLine(status))
}

// say sends the status if it has changed.
func (m *manager) say(status string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.status != status {
		m.status = status
		m.send("STATUS=" + oneLine(status))
	}
}

// lives sends a sign of life. Before the start is complete systemd expects none.
func (m *manager) lives() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.watchdog > 0 && (m.ready || m.stopping) {
		m.send("WATCHDOG=1")
	}
}

// send sends one message. The caller holds the lock.
func (m *manager) send(lines ...string) {
	if !m.on {
		return
	}
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil && !m.failed {
		m.failed = true
		m.log.Warn("the state of this process cannot be sent to systemd", "error", err)
	}
}

// oneLine keeps a line break from beginning another assignment.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// watch tells systemd until ctx ends what the service does, and that its loops turn. It sends no sign
// of life while a loop is late: systemd then ends the process, with the stacks of all goroutines in
// the journal, and starts it again.
//
// An unreachable database or broker makes no loop late: each wait of theirs has a limit.
func (s *Service) watch(ctx context.Context) {
	m := s.manager
	if !m.on {
		return
	}
	every := healthEvery
	if m.watchdog > 0 {
		every = min(every, m.watchdog/3)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	told := false
	for {
		if m.begun() {
			m.say(s.status(ctx))
		}
		late := s.loops.late()
		if len(late) == 0 {
			m.lives()
		} else if !told {
			s.log.ErrorContext(ctx, "a loop of this process has stopped: systemd gets no watchdog message and will restart the process", "loops", strings.Join(late, ", "))
		}
		told = len(late) > 0
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// begun reports whether the start is complete or given up.
func (m *manager) begun() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ready || m.stopping
}

// status returns what the process does after its start.
func (s *Service) status(ctx context.Context) string {
	select {
	case <-s.draining:
		if s.drained() {
			return "draining: closes its connections"
		}
		return "draining: waits for " + s.undrained(ctx)
	default:
	}
	if err := s.health.lastProblem(); err != nil {
		return "not ready: " + err.Error()
	}
	return s.serving()
}

// serving returns the status of a process without a problem.
func (s *Service) serving() string { return "serving: " + strings.Join(s.settings.Roles, ", ") }
