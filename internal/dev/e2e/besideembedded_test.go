package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
)

// A verifier and a notifier run beside the embedded broker of another process, each with a copy of
// its own key as in the guide. That process makes their consumers when they look for them.
func TestAVerifierAndANotifierBesideTheEmbeddedBroker(t *testing.T) {
	t.Parallel()
	p := setup(t)
	t.Cleanup(func() { // the platform's own broker was not used
		for _, w := range p.workers {
			w.term()
			if w.await(); w.err != nil {
				t.Errorf("a process ended with %v:\n%s", w.err, w.logs.String())
			}
		}
		p.workers = nil
	})
	data := t.TempDir()
	w := p.start("NATS_URL=", "NATS_KEYS=", "NATS_PORT=-1", "DATA_DIR="+data, "ROLES=intake,worker,sweeper")
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
		return []string{"NATS_URL=" + url, "NATS_KEYS=" + keys, "DATA_DIR=" + t.TempDir(), "DATABASE_URL=", "ROLES=" + string(u)}
	}
	told := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.Header.Get("Ce-Type") }))
	t.Cleanup(receiver.Close)
	p.start(append(beside(server.UserVerifier), "SANDBOX=off", "VERIFY_SCRATCH_URL="+cluster.URL("postgres"))...)
	p.start(append(beside(server.UserNotifier), "WEBHOOK_URL="+receiver.URL, "WEBHOOK_SECRET="+hookSecret)...)
	if stdout, stderr, code := p.cliWith(append(beside(server.UserGateway), "ROLES="), "request", "acme", "--id", "one", "--wait"); code != 0 {
		t.Fatalf("request: exit code %d, %s%s", code, stdout, stderr)
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
