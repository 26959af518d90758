package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// change changes the configuration of a stream while the workers run.
func (p *platform) change(stream string, do func(*jetstream.StreamConfig)) {
	p.t.Helper()
	s, err := p.js.Stream(p.ctx, stream)
	if err != nil {
		p.t.Fatal(err)
	}
	c := s.CachedInfo().Config
	do(&c)
	if _, err := p.js.UpdateStream(p.ctx, c); err != nil {
		p.t.Fatal(err)
	}
}

// notReady waits until the worker reports why no request can end.
func notReady(t *testing.T, addr, reason string) {
	t.Helper()
	last := ""
	eventually(t, addr+" is not ready: "+reason, func() bool {
		status, body := get(t, "http://"+addr+"/readyz")
		if body != last {
			t.Log(status, strings.TrimSpace(body))
			last = body
		}
		return status == http.StatusServiceUnavailable && strings.Contains(body, reason)
	})
}

func ready(t *testing.T, addr string) {
	t.Helper()
	eventually(t, addr+" is ready", func() bool {
		status, _ := get(t, "http://"+addr+"/readyz")
		return status == http.StatusOK
	})
}

// The broker accepts no outcome, because each is too large for it even when shortened. The worker
// reports that in its log, at /readyz and in its metrics, and its drain does not wait.
func TestAnOutcomeThatTheBrokerRefusesIsReported(t *testing.T) {
	t.Parallel()
	p := setup(t)
	addr := freeAddress(t)
	w := p.start("HTTP_ADDR="+addr, "DRAIN_TIMEOUT=30m")
	p.change(events.StreamOutcomes, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 200 })
	id := p.request(events.Requested{ProjectID: "acme", Metadata: map[string]string{"k": strings.Repeat("x", 200)}})
	notReady(t, addr, "the broker accepts no outcomes, 1 wait")
	w.awaitLog("the broker accepts no outcomes")
	if text := w.logs.String(); !strings.Contains(text, "message size exceeds maximum allowed") {
		t.Errorf("the broker's error text is missing:\n%s", text)
	}
	eventually(t, "the metrics say so", func() bool {
		m := scrape(t, addr)
		return m["pgcourier_outcomes_waiting"] == 1 && m["pgcourier_ready"] == 0
	})
	w.term()
	notReady(t, addr, "draining")
	w.await() // for less than DRAIN_TIMEOUT
	if w.err != nil {
		t.Errorf("it ended with %v:\n%s", w.err, w.logs.String())
	}
	p.change(events.StreamOutcomes, func(c *jetstream.StreamConfig) { c.MaxMsgSize = -1 })
	p.start("HTTP_ADDR=" + addr)
	p.completed("acme", id)
	ready(t, addr)
}

// An outcome that is too large is published without its optional parts, and the event says so.
func TestAnOutcomeThatIsTooLargeIsShortened(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.change(events.StreamOutcomes, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 2500 })
	p.start()
	metadata := map[string]string{}
	for i := range 20 {
		metadata[fmt.Sprint("k", i)] = strings.Repeat("x", 200)
	}
	out := p.completed("acme", p.request(events.Requested{ProjectID: "acme", Metadata: metadata}))
	if out.Metadata != nil || out.Request != nil || len(out.Warnings) == 0 || !strings.Contains(out.Warnings[0], "left out: the request, the metadata") {
		t.Errorf("%+v", out)
	}
	id := p.request(events.Requested{ProjectID: "nobody", Metadata: metadata})
	failed := p.await("nobody", id).Failed
	if failed == nil || failed.Metadata != nil || failed.Code != "project_not_found" || !strings.Contains(failed.Message, "shortened") {
		t.Errorf("%+v", failed)
	}
}

// Only the administrator can make a consumer again that was removed while workers serve. Until then
// the workers are not ready and name it.
func TestARemovedConsumerIsNamedUntilItIsMadeAgain(t *testing.T) {
	t.Parallel()
	p := setup(t)
	addr := freeAddress(t)
	p.start("HTTP_ADDR=" + addr)
	p.completed("acme", p.request(events.Requested{ProjectID: "acme"})) // it has bound the consumer
	if err := p.js.DeleteConsumer(p.ctx, events.StreamRequests, events.ConsumerExport); err != nil {
		t.Fatal(err)
	}
	notReady(t, addr, "BACKUP_REQUESTS/export-worker is missing on the broker")
	p.provision()
	ready(t, addr)
	p.completed("acme", p.request(events.Requested{ProjectID: "acme"}))
}

func TestAPausedConsumerIsNamed(t *testing.T) {
	t.Parallel()
	p := setup(t)
	addr := freeAddress(t)
	p.start("HTTP_ADDR=" + addr)
	if _, err := p.js.PauseConsumer(p.ctx, events.StreamRequests, events.ConsumerExport, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	notReady(t, addr, "BACKUP_REQUESTS/export-worker is paused on the broker until ")
	if _, err := p.js.ResumeConsumer(p.ctx, events.StreamRequests, events.ConsumerExport); err != nil {
		t.Fatal(err)
	}
	ready(t, addr)
	p.completed("acme", p.request(events.Requested{ProjectID: "acme"}))
}

// setupPlain makes a platform with a broker without users: every login may do everything.
func setupPlain(t *testing.T) *platform {
	t.Helper()
	return setupWith(t, func(p *platform) {
		plain, err := brokertest.StartPlain(t.TempDir(), brokertest.RandomPort)
		if err != nil {
			t.Fatal(err)
		}
		p.broker = plainServer{plain}
		if p.nc, err = broker.Connect(broker.Config{URLs: []string{plain.ClientURL()}}); err != nil {
			t.Fatal(err)
		}
	})
}

// If every login may do everything, a worker makes a removed consumer again.
func TestAWorkerThatMayMakesARemovedConsumerAgain(t *testing.T) {
	t.Parallel()
	p := setupPlain(t)
	addr := freeAddress(t)
	p.start("HTTP_ADDR=" + addr)
	p.completed("acme", p.request(events.Requested{ProjectID: "acme"})) // it has bound the consumer
	for _, remove := range []func() error{
		func() error { return p.js.DeleteConsumer(p.ctx, events.StreamRequests, events.ConsumerExport) },
		func() error { return p.js.DeleteStream(p.ctx, events.StreamRequests) },
	} {
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the consumer is made again", func() bool {
			_, err := p.js.Consumer(p.ctx, events.StreamRequests, events.ConsumerExport)
			return err == nil
		})
		ready(t, addr)
		p.completed("acme", p.request(events.Requested{ProjectID: "acme"}))
	}
}

// An earlier build sets the subjects of a stream back, and later builds add them again.
func TestAWorkerThatMayAddsSubjectsAgain(t *testing.T) {
	t.Parallel()
	p := setupPlain(t)
	addr := freeAddress(t)
	p.start("HTTP_ADDR=" + addr)
	want := p.stream(events.StreamEvents).Config.Subjects
	p.change(events.StreamEvents, func(c *jetstream.StreamConfig) { c.Subjects = c.Subjects[:1] })
	eventually(t, "the subjects are there again", func() bool { return slices.Equal(p.stream(events.StreamEvents).Config.Subjects, want) })
	ready(t, addr)
}

// A cluster without a majority has no leader. A worker ends with the exit code for unreachable
// servers, so that its supervisor starts it again.
func TestAWorkerWithoutAJetStreamLeaderEndsWithFive(t *testing.T) {
	t.Parallel()
	srv, err := natsd.NewServer(&natsd.Options{
		ServerName: "n1", Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
		Cluster: natsd.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: -1},
		Routes:  natsd.RoutesFromStr("nats://127.0.0.1:1,nats://127.0.0.1:2"),
	})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	eventually(t, "it listens", func() bool { return srv.Addr() != nil })
	p := setup(t)
	_, stderr, code := p.cliWith([]string{"NATS_URL=" + srv.ClientURL(), "NATS_KEYS=", "NATS_NKEY="}, "serve")
	if code != 5 || !strings.Contains(stderr, "JetStream does not answer") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// hosted is a nats-server as a hosting company runs it: behind a JetStream domain, with limits of
// the account, and TLS from the first byte.
func hosted(t *testing.T) (address, ca string) {
	t.Helper()
	dir := t.TempDir()
	cert, key := selfSigned(t, dir)
	file := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf(`listen: "127.0.0.1:-1"
jetstream { store_dir: %q, domain: hub }
tls { cert_file: %q, key_file: %q, handshake_first: true }
accounts { A { jetstream { max_file: 200MB, max_bytes_required: true, max_ack_pending: 100 }, users: [{user: u, password: p}] } }
`, filepath.Join(dir, "store"), cert, key)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := serveNATS(t, file)
	t.Cleanup(func() { _ = srv.Shutdown() })
	return srv.Addr().String(), cert
}

// selfSigned makes a certificate for 127.0.0.1 that is its own authority.
func selfSigned(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func TestAHostedAccountWithLimits(t *testing.T) {
	t.Parallel()
	address, ca := hosted(t)
	p := setup(t)
	own := []string{"NATS_URL=tls://u:p@" + address, "NATS_KEYS=", "NATS_TLS_CA=" + ca, "NATS_TLS_FIRST=true", "NATS_DOMAIN=hub"}
	_, stderr, code := p.cliWith(own, "broker", "setup", "--ack-wait", "10s")
	if code == 0 || !strings.Contains(stderr, "max bytes") || strings.Contains(stderr, "pgcourier broker setup") {
		t.Errorf("without limits: exit code %d, %s", code, stderr)
	}
	stdout, _, _ := p.cliWith(own, "doctor", "--only", "broker")
	for _, want := range []string{"set PGCOURIER_NATS_STREAM_MAX_BYTES", "set PGCOURIER_NATS_MAX_ACK_PENDING=100"} {
		if !strings.Contains(strings.Join(strings.Fields(stdout), " "), want) {
			t.Errorf("doctor lacks %q:\n%s", want, stdout)
		}
	}
	own = append(own, "NATS_STREAM_MAX_BYTES=10MiB", "NATS_MAX_ACK_PENDING=100")
	if _, stderr, code := p.cliWith(own, "broker", "setup"); code != 0 {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	w := p.start(own...)
	if stdout, stderr, code := p.cliWith(own, "request", "acme", "--wait"); code != 0 {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	w.term()
	w.await()
	if w.err != nil {
		t.Errorf("the worker ended with %v", w.err)
	}
	p.workers = nil // the platform's own broker was not used
}

// SIGHUP drains; a second signal ends the process with the code that a shell gives for it.
func TestASecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	p := setup(t)
	g := newGate(t, "tenant_acme")
	// Tests under nohup ignore SIGHUP, and so would their worker. A caught signal is reset in a child.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	defer signal.Stop(caught)
	w := p.start("DRAIN_TIMEOUT=30m", "ACK_WAIT=5s", "PG_BIN_DIR="+g.dir)
	id := p.request(events.Requested{ProjectID: "acme"})
	g.awaitHeld(1) // it cannot end by itself
	w.signal(syscall.SIGHUP)
	w.awaitLog("draining: running exports may finish, a second signal ends them")
	w.killed = true
	w.term()
	w.await()
	if w.cmd.ProcessState.ExitCode() != 143 {
		t.Errorf("it ended with %v", w.err)
	}
	p.start("ACK_WAIT=5s", "PG_BIN_DIR="+g.dir)
	g.awaitHeld(2)
	g.pass(1)
	if c := p.completed("acme", id); c.Attempt != 2 {
		t.Errorf("completed in attempt %d", c.Attempt)
	}
}

type plainServer struct{ *brokertest.Plain }

func (s plainServer) Shutdown() error { s.Plain.Shutdown(); return nil }
