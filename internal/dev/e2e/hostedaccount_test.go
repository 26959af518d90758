package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
)

// natsServer is a nats-server with a configuration file.
type natsServer struct {
	*natsd.Server
	file string
}

func (s natsServer) Shutdown() error { s.Server.Shutdown(); s.WaitForShutdown(); return nil }

// startNATS starts a nats-server with this configuration; STORE in it is the folder of its store.
func startNATS(t *testing.T, text string) natsServer {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "nats.conf")
	text = strings.ReplaceAll(text, "STORE", filepath.Join(dir, "store"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := serveNATS(t, file)
	t.Cleanup(func() { _ = srv.Shutdown() })
	return srv
}

// serveNATS starts a nats-server with a configuration file. The caller ends it.
func serveNATS(t *testing.T, file string) natsServer {
	t.Helper()
	options, err := natsd.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	options.NoLog, options.NoSigs = true, true
	srv, err := natsd.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	if !srv.ReadyForConnections(timeout) {
		t.Fatal("the broker does not start")
	}
	return natsServer{srv, file}
}

// setupOn makes a platform on a nats-server with this configuration, where the user u has the
// password p.
func setupOn(t *testing.T, text string) *platform {
	t.Helper()
	return setupWith(t, func(p *platform) {
		p.broker = startNATS(t, text)
		var err error
		if p.nc, err = nats.Connect(p.broker.ClientURL(), nats.UserInfo("u", "p")); err != nil {
			t.Fatal(err)
		}
	})
}

// `broker setup` and doctor report the limits of an account in the broker's words, with a fix.
func TestAnAccountsLimitsAreReportedInTheBrokersWords(t *testing.T) {
	t.Parallel()
	p := setup(t)
	const sized = "NATS_STREAM_MAX_BYTES=10MiB"
	for _, c := range []struct {
		name, server, account string
		settings              []string
		words, doctor         string // doctor's finding; empty: it has none of its own
	}{
		{
			"streams", "", "max_streams: 3", nil,
			"err_code=10027 description=maximum number of streams reached: raise the account's max_streams",
			"broker/limits/max_streams: fault found the account may hold 3 streams, holds 3, and 2 are missing fix raise the account's max_streams",
		},
		{
			"consumers of a stream", "", "max_consumers: 2", nil,
			"err_code=10026 description=maximum consumers limit reached: raise the account's max_consumers, which counts for each stream", "",
		},
		{
			"the account's bytes", "", "max_file: 20MB, max_bytes_required: true", []string{sized},
			"err_code=10047 description=insufficient storage resources available: NATS_STREAM_MAX_BYTES is reserved for each stream",
			"broker/limits/max_file: fault found the account may store 20 MiB, has reserved 20 MiB, and the 3 missing streams reserve 30 MiB fix lower PGCOURIER_NATS_STREAM_MAX_BYTES",
		},
		{
			"a stream's bytes", "", "disk_max_stream_bytes: 5MB", []string{sized},
			"err_code=10122 description=stream max bytes exceeds account limit max stream bytes: lower NATS_STREAM_MAX_BYTES",
			"broker/limits/max_stream_bytes: fault found a stream of the account may reserve 5.0 MiB, PGCOURIER_NATS_STREAM_MAX_BYTES is 10 MiB fix lower PGCOURIER_NATS_STREAM_MAX_BYTES",
		},
		{
			"the server's bytes", "max_file_store: 30MB", "max_file: -1", []string{sized},
			"err_code=10047 description=insufficient storage resources available: NATS_STREAM_MAX_BYTES is reserved for each stream", "",
		},
		{
			"unacknowledged messages", "", "max_ack_pending: 100", nil,
			"err_code=10121 description=consumer max ack pending exceeds system limit of 100: set NATS_MAX_ACK_PENDING to that limit",
			"set PGCOURIER_NATS_MAX_ACK_PENDING=100",
		},
		{
			"bytes that are demanded", "", "max_file: 200MB, max_bytes_required: true", nil,
			"err_code=10113 description=account requires a stream config to have max bytes set: set NATS_STREAM_MAX_BYTES",
			"fix set PGCOURIER_NATS_STREAM_MAX_BYTES",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := startNATS(t, fmt.Sprintf(`listen: "127.0.0.1:-1"
jetstream { store_dir: "STORE", %s }
accounts { A { jetstream { %s }, users: [{user: u, password: p}] } }`, c.server, c.account))
			own := append([]string{"NATS_URL=" + userOf(srv), "NATS_KEYS="}, c.settings...)
			_, stderr, code := p.cliWith(own, "broker", "setup")
			if code != 1 || strings.Count(stderr, c.words) != 1 {
				t.Errorf("broker setup: exit code %d, %s\nwant once: %s", code, stderr, c.words)
			}
			stdout, _, code := p.cliWith(own, "doctor", "--only", "broker")
			if !strings.Contains(strings.Join(strings.Fields(stdout), " "), c.doctor) || c.doctor != "" && code != 1 {
				t.Errorf("doctor: exit code %d\n%s\nwant: %s", code, stdout, c.doctor)
			}
		})
	}
}

// userOf is the server's address with the login of the user u.
func userOf(s natsServer) string {
	return "nats://u:p@" + strings.TrimPrefix(s.ClientURL(), "nats://")
}

// The error of a full account for an outcome differs from that of a full stream. Log and /readyz
// report it, and the outcome is published when the account has room.
func TestAFullAccountIsReported(t *testing.T) {
	t.Parallel()
	p := setupOn(t, `listen: "127.0.0.1:-1"
jetstream { store_dir: "STORE" }
accounts { A { jetstream { max_file: 2MB }, users: [{user: u, password: p}] } }`)
	addr := freeAddress(t)
	w := p.start("HTTP_ADDR="+addr, "NATS_URL="+userOf(p.broker.(natsServer)), "NATS_KEYS=", "LOCK_TIMEOUT=5m")
	other, err := p.js.CreateStream(p.ctx, jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}})
	if err != nil {
		t.Fatal(err)
	}
	holder := p.sql()
	if _, err := holder.Exec(p.ctx, "BEGIN; LOCK TABLE tenant_acme.customers IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	id := p.request(events.Requested{ProjectID: "acme"})
	looker := p.sql()
	eventually(t, "the export waits for the lock", func() (waits bool) {
		if err := looker.QueryRow(p.ctx, "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'tenant_acme.customers'::regclass AND NOT granted)").Scan(&waits); err != nil {
			t.Fatal(err)
		}
		return waits
	})
	var refused error
	for size := 256 << 10; size > 16; { // smaller and smaller messages, until an outcome has no room either
		if _, refused = p.js.Publish(p.ctx, "other", make([]byte, size)); refused != nil {
			size /= 2
		}
	}
	if api, ok := errors.AsType[*jetstream.APIError](refused); !ok || api.ErrorCode != 10002 {
		t.Errorf("a full account answers %v", refused)
	}
	if _, err := holder.Exec(p.ctx, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	w.awaitLog("the broker accepts no outcomes")
	notReady(t, addr, "the broker accepts no outcomes, 1 wait")
	if text := w.logs.String(); !strings.Contains(text, "resource limits exceeded for account") {
		t.Errorf("the broker's error text is missing:\n%s", text)
	}
	if err := other.Purge(p.ctx); err != nil {
		t.Fatal(err)
	}
	p.completed("acme", id)
	ready(t, addr)
}

// If a server's max_payload is below an outcome's size, the outcome is shortened, and the event says so.
func TestAnOutcomeAboveTheServersPayloadIsShortened(t *testing.T) {
	t.Parallel()
	p := setupOn(t, `listen: "127.0.0.1:-1"
max_payload: 6000
jetstream { store_dir: "STORE" }
accounts { A { jetstream: enabled, users: [{user: u, password: p}] } }`)
	w := p.start("NATS_URL="+userOf(p.broker.(natsServer)), "NATS_KEYS=")
	metadata := map[string]string{}
	for i := range 20 {
		metadata[fmt.Sprint("k", i)] = strings.Repeat("x", 200)
	}
	out := p.completed("acme", p.request(events.Requested{ProjectID: "acme", Metadata: metadata}))
	if out.Request != nil || len(out.Warnings) == 0 || !strings.Contains(out.Warnings[0], "left out: the request") {
		t.Errorf("%+v", out)
	}
	w.awaitLog("outcome shortened: the broker takes no event of its size")
	if !strings.Contains(w.logs.String(), "maximum payload exceeded") {
		t.Errorf("the broker's error text is missing:\n%s", w.logs.String())
	}
	failed := p.await("nobody", p.request(events.Requested{ProjectID: "nobody", Metadata: metadata})).Failed
	if failed == nil || failed.Code != "project_not_found" || !strings.Contains(failed.Message, "shortened") {
		t.Errorf("%+v", failed)
	}
}

// A worker at a leaf node reaches the streams of the hub through the hub's JetStream domain, also
// if the leaf has its own JetStream.
func TestAWorkerAtALeafNode(t *testing.T) {
	t.Parallel()
	var leaf natsServer
	p := setupWith(t, func(p *platform) {
		hub := startNATS(t, `listen: "127.0.0.1:-1"
leafnodes { listen: "127.0.0.1:-1" }
jetstream { store_dir: "STORE", domain: hub }
accounts { A { jetstream: enabled, users: [{user: u, password: p}] } }`)
		remote := ""
		eventually(t, "the hub listens for leaf nodes", func() bool {
			v, err := hub.Varz(nil)
			remote = fmt.Sprintf("127.0.0.1:%d", v.LeafNode.Port)
			return err == nil && v.LeafNode.Port > 0
		})
		leaf = startNATS(t, `listen: "127.0.0.1:-1"
jetstream { store_dir: "STORE", domain: leaf }
accounts { B { jetstream: enabled, users: [{user: u, password: p}] } }
leafnodes { remotes: [{ url: "nats-leaf://u:p@`+remote+`", account: B }] }`)
		eventually(t, "the leaf node is connected", func() bool { return leaf.NumLeafNodes() == 1 && hub.NumLeafNodes() == 1 })
		p.broker = hub
		var err error
		if p.nc, err = nats.Connect(hub.ClientURL(), nats.UserInfo("u", "p")); err != nil {
			t.Fatal(err)
		}
	})
	at := []string{"NATS_URL=" + userOf(leaf), "NATS_KEYS=", "NATS_DOMAIN=hub"}
	p.start(at...)
	p.completed("acme", p.request(events.Requested{ProjectID: "acme"}))
	if stdout, stderr, code := p.cliWith(at, "request", "acme", "--wait"); code != 0 {
		t.Errorf("request at the leaf node: exit code %d, %s%s", code, stdout, stderr)
	}
	p.outcomes++
	if stdout, stderr, code := p.cliWith(at, "doctor", "--only", "broker"); code != 0 {
		t.Errorf("doctor at the leaf node: exit code %d, %s%s", code, stdout, stderr)
	}
}

// A worker in an account that imports JetStream of another account under a prefix.
func TestAWorkerBehindAnAPIPrefix(t *testing.T) {
	t.Parallel()
	p := setupWith(t, func(p *platform) {
		p.broker = startNATS(t, `listen: "127.0.0.1:-1"
jetstream { store_dir: "STORE" }
accounts {
  STREAMS {
    jetstream: enabled
    users: [{user: s, password: p}]
    exports: [
      { service: "$JS.API.>", response_type: stream }
      { service: "$JS.ACK.>" }
      { service: "backup.>" }
      { stream: "backup.>" }
    ]
  }
  APP {
    users: [{user: u, password: p}]
    imports: [
      { service: { account: STREAMS, subject: "$JS.API.>" }, to: "JS.streams.API.>" }
      { service: { account: STREAMS, subject: "$JS.ACK.>" } }
      { service: { account: STREAMS, subject: "backup.>" } }
    ]
  }
}`)
		var err error
		if p.nc, err = nats.Connect(p.broker.ClientURL(), nats.UserInfo("s", "p")); err != nil {
			t.Fatal(err)
		}
	})
	at := []string{"NATS_URL=" + userOf(p.broker.(natsServer)), "NATS_KEYS=", "NATS_API_PREFIX=JS.streams.API"}
	p.start(at...)
	p.completed("acme", p.request(events.Requested{ProjectID: "acme"}))
	if stdout, stderr, code := p.cliWith(at, "request", "acme", "--wait"); code != 0 {
		t.Errorf("request: exit code %d, %s%s", code, stdout, stderr)
	}
	p.outcomes++
}
