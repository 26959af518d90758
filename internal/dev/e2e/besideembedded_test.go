package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
)

// A verifier and a notifier run beside the embedded broker of another process, each with a copy of
// its own key as in the guide. That process makes their consumers when they look for them. The users
// are those of the guide, if this process may change to them: the verifier of a file:// storage runs as
// the worker's, the notifier as one of its own.
func TestAVerifierAndANotifierBesideTheEmbeddedBroker(t *testing.T) {
	t.Parallel()
	p := setup(t)
	t.Cleanup(func() { // the platform's own broker was not used
		for _, w := range slices.Backward(p.workers) { // the broker last: a drain waits for it
			w.term()
			if w.await(); w.err != nil {
				t.Errorf("a process ended with %v:\n%s", w.err, w.logs.String())
			}
		}
		p.workers = nil
	})
	data, binary := t.TempDir(), ""
	as := func(user uint32, folders ...string) {
		if os.Geteuid() != 0 {
			return
		}
		p.user = &syscall.Credential{Uid: user, Gid: user}
		for _, f := range folders {
			p.handOver(f)
		}
	}
	const workers, notifiers = 1, 2 // users that every system has
	if os.Geteuid() == 0 {
		binary = reachable(t)
		if err := os.MkdirAll(p.storage, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	as(workers, data, p.storage)
	if err := os.Chmod(filepath.Dir(filepath.Dir(p.storage)), 0o711); err != nil { // #nosec G302 -- a folder of the test
		t.Fatal(err)
	}
	w := p.startBinary(binary, "NATS_URL=", "NATS_KEYS=", "NATS_PORT=-1", "DATA_DIR="+data, "ROLES=intake,worker,sweeper")
	url := ""
	for line := range strings.Lines(w.logs.String()) {
		var v struct{ Msg, URL string }
		if json.Unmarshal([]byte(line), &v) == nil && v.Msg == "embedded broker listens" {
			url = v.URL
		}
	}
	beside := func(u server.User) []string {
		keys := t.TempDir()
		seed, err := os.ReadFile(server.KeyFile(server.KeysDir(data), u))
		if err == nil {
			err = os.WriteFile(filepath.Join(keys, string(u)+".nk"), seed, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		own := t.TempDir()
		as(map[server.User]uint32{server.UserVerifier: workers, server.UserNotifier: notifiers}[u], keys, own)
		return []string{"NATS_URL=" + url, "NATS_KEYS=" + keys, "DATA_DIR=" + own, "DATABASE_URL=", "ROLES=" + string(u)}
	}
	told := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.Header.Get("Ce-Type") }))
	t.Cleanup(receiver.Close)
	p.startBinary(binary, append(beside(server.UserVerifier), "SANDBOX=off", "VERIFY_SCRATCH_URL="+cluster.URL("postgres"))...)
	p.startBinary(binary, append(beside(server.UserNotifier), "WEBHOOK_URL="+receiver.URL, "WEBHOOK_SECRET="+hookSecret)...)
	if stdout, stderr, code := p.cliWith(append(beside(server.UserGateway), "ROLES="), "request", "acme", "--id", "one", "--wait"); code != 0 {
		t.Fatalf("request: exit code %d, %s%s", code, stdout, stderr)
	}
	if info, err := os.Stat(filepath.Join(p.storage, "acme")); err != nil || os.Geteuid() == 0 && info.Sys().(*syscall.Stat_t).Uid != workers {
		t.Errorf("the exports are not the worker's: %+v, %v", info, err)
	}
	if got := <-told; got != events.TypeCompleted {
		t.Errorf("the webhook got %q", got)
	}
	nc, err := broker.Connect(broker.Config{URLs: []string{url}, NKeySeedFile: server.KeyFile(server.KeysDir(data), server.UserOperator), InboxPrefix: server.UserOperator.InboxPrefix()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), events.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the export is verified", func() bool {
		_, err := s.GetLastMsgForSubject(t.Context(), events.EventSubject(events.TypeVerified, "acme", "one"))
		return err == nil
	})
}

// reachable returns a copy of the program that every user can run.
func reachable(t *testing.T) string {
	t.Helper()
	from, err := exec.LookPath("pgcourier")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	to := filepath.Join(dir, "pgcourier")
	if out, err := exec.CommandContext(t.Context(), "install", "-m", "755", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil { // #nosec G302 -- a folder of the test
		t.Fatal(err)
	}
	return to
}
