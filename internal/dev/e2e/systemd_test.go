package e2e_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/pgcourier/pgcourier/events"
)

// notifications are the messages of a process to its service manager (sd_notify(3)), in order.
type notifications struct {
	socket string

	mu   sync.Mutex
	all  []string
	hear func(message string) // called for each message
}

// listen plays systemd until the end of the test.
func (p *platform) listen(hear func(message string)) *notifications {
	p.t.Helper()
	n := &notifications{socket: "@" + p.database, hear: hear} // abstract: no path, so no limit of its length
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		p.t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		b := make([]byte, 4096)
		for {
			size, err := conn.Read(b)
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					p.t.Error(err)
				}
				return
			}
			n.mu.Lock()
			n.all = append(n.all, string(b[:size]))
			n.mu.Unlock()
			n.hear(string(b[:size]))
		}
	})
	p.t.Cleanup(func() { _ = conn.Close(); reading.Wait() })
	return n
}

func (n *notifications) list() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.all)
}

// after returns the messages after the first one that begins with prefix.
func (n *notifications) after(prefix string) []string {
	all := n.list()
	i := slices.IndexFunc(all, func(m string) bool { return strings.HasPrefix(m, prefix) })
	if i < 0 {
		return nil
	}
	return all[i+1:]
}

const (
	readyMessage    = "READY=1\nSTATUS=serving: "
	stoppingMessage = "STOPPING=1\nSTATUS=draining: "
	aliveMessage    = "WATCHDOG=1"
)

// Exit code 2 would say that a setting is wrong, and RestartPreventExitStatus= that it stays so.
func TestAWorkerThatCrashesIsStartedAgain(t *testing.T) {
	t.Parallel()
	p := setup(t)
	w := p.start()
	w.killed = true
	w.signal(syscall.SIGABRT) // as the watchdog does; a panic ends in the same way
	w.await()
	state, ok := w.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !state.Signaled() || state.Signal() != syscall.SIGABRT || !strings.Contains(w.logs.String(), "goroutine ") {
		t.Errorf("the worker ended with %s", w.cmd.ProcessState)
	}
}

func TestSystemdIsToldWhatTheWorkerDoes(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.holdable()
	lock := p.sql() // that of the ledger's migration
	if _, err := lock.Exec(t.Context(), "SELECT pg_advisory_lock($1)", int64(0x7067636f75726965)); err != nil {
		t.Fatal(err)
	}
	const waitsForLedger = "STATUS=starting: waits for the ledger"
	said := p.listen(func(message string) {
		if message == waitsForLedger {
			if _, err := lock.Exec(p.ctx, "SELECT pg_advisory_unlock_all()"); err != nil {
				t.Error(err)
			}
		}
	})
	w := p.launch("", append(p.environ("LOCK_TIMEOUT=5m"), "NOTIFY_SOCKET="+said.socket, "WATCHDOG_USEC=300000"))
	alive := func(since string) {
		t.Helper()
		eventually(t, "signs of life after "+since, func() bool {
			return len(slices.DeleteFunc(said.after(since), func(m string) bool { return m != aliveMessage })) >= 2
		})
	}
	alive(readyMessage)
	var start []string
	for _, m := range said.list() {
		if strings.HasPrefix(m, readyMessage) {
			start = append(start, m)
			break
		}
		if m == aliveMessage {
			t.Error("a sign of life came before READY=1")
		}
		if !strings.HasPrefix(m, "EXTEND_TIMEOUT_USEC=") {
			start = append(start, m)
		}
	}
	want := []string{
		"STATUS=starting: waits for the broker", "STATUS=starting: waits for the broker's streams", waitsForLedger,
		"STATUS=starting: waits for the storage", "STATUS=starting: waits for the project query and the client tools",
		"STATUS=starting: waits for its roles", readyMessage + "intake, worker, sweeper",
	}
	if !slices.Equal(start, want) {
		t.Errorf("the start says %q, want %q", start, want)
	}
	extends := func(m string) bool { return m == "EXTEND_TIMEOUT_USEC=120000000" }
	if !slices.ContainsFunc(said.list(), extends) || slices.ContainsFunc(said.after(readyMessage), extends) {
		t.Errorf("more time is asked for during the start only, and not so: %q", said.list())
	}

	// An outage of the database is no reason to restart the process.
	outage := func(is bool) {
		t.Helper()
		if err := executeIn(p.ctx, "postgres", fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS %t", p.database, !is)); err != nil {
			t.Fatal(err)
		}
	}
	outage(true)
	if err := executeIn(p.ctx, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+p.database+"'"); err != nil {
		t.Fatal(err)
	}
	const away = "STATUS=not ready: the control plane is unreachable"
	eventually(t, "systemd hears of the outage", func() bool { return slices.Contains(said.list(), away) })
	alive(away)
	outage(false)
	eventually(t, "systemd hears of its end", func() bool { return slices.Contains(said.after(away), "STATUS=serving: intake, worker, sweeper") })

	release := p.hold()
	id := p.request(events.Requested{ProjectID: "globex"})
	eventually(t, "pg_dump runs", func() bool { return len(p.dumps()) > 0 })
	for _, pid := range p.dumps() {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || strings.Contains(string(environ), "NOTIFY_SOCKET") || strings.Contains(string(environ), "WATCHDOG") {
			t.Errorf("pg_dump has the environment %q (%v)", environ, err)
		}
	}
	w.term()
	alive(stoppingMessage)
	eventually(t, "systemd hears what the drain waits for", func() bool {
		return slices.ContainsFunc(said.after(stoppingMessage), func(m string) bool { return strings.HasPrefix(m, "STATUS=draining: waits for exporter") })
	})
	release()
	p.completed("globex", id)
	w.await()
}
