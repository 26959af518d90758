package e2e_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
)

// setupOwn makes a platform on a nats-server as an administrator sets it up, with the output of
// `broker config`, and the key of a publisher of acme.
func setupOwn(t *testing.T) (p *platform, publisher nkeys.KeyPair) {
	t.Helper()
	p, publishers := setupPublishers(t, "acme")
	return p, publishers["acme"]
}

// setupPublishers makes a platform on such a server, and the keys of publishers by their projects.
func setupPublishers(t *testing.T, projects ...string) (p *platform, publishers map[string]nkeys.KeyPair) {
	t.Helper()
	publishers = map[string]nkeys.KeyPair{}
	var flags []string
	for _, project := range projects {
		key, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		public, err := key.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		publishers[project] = key
		flags = append(flags, "--publisher", project+"="+public)
	}
	return setupWith(t, func(p *platform) {
		dir := t.TempDir()
		p.keys = filepath.Join(dir, "keys")
		users, stderr, code := p.bare(append([]string{"broker", "config", "--nats-keys", p.keys}, flags...)...)
		if code != 0 {
			t.Fatalf("broker config: exit code %d, %s", code, stderr)
		}
		for _, u := range append(server.Users(), server.UserAdmin) {
			seed, err := os.ReadFile(server.KeyFile(p.keys, u))
			if err != nil || strings.Contains(users+stderr, strings.TrimSpace(string(seed))) {
				t.Fatalf("the seed of %s was printed, or is not there (%v)", u, err)
			}
		}
		frame := fmt.Sprintf("listen: \"127.0.0.1:-1\"\njetstream { store_dir: %q, sync_interval: always }\ninclude users.conf\n", filepath.Join(dir, "store"))
		for name, text := range map[string]string{"users.conf": users, "nats.conf": frame} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		srv := serveNATS(t, filepath.Join(dir, "nats.conf"))
		p.broker = srv
		var err error
		p.nc, err = broker.Connect(broker.Config{
			URLs: []string{srv.ClientURL()}, NKeySeedFile: server.KeyFile(p.keys, server.UserAdmin), InboxPrefix: server.UserAdmin.InboxPrefix(),
		})
		if err != nil {
			t.Fatal(err)
		}
	}), publishers
}

// as connects with the key of a project's publisher.
func (p *platform) as(project string, key nkeys.KeyPair) *nats.Conn {
	p.t.Helper()
	public, err := key.PublicKey()
	if err != nil {
		p.t.Fatal(err)
	}
	nc, err := nats.Connect(p.broker.ClientURL(), nats.Nkey(public, key.Sign), nats.CustomInboxPrefix(server.PublisherInbox(project)),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // LastError has it
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(nc.Close)
	return nc
}

// The whole job runs on an external broker, each part with its own key and no other rights:
// workers, notifier, verifier, gateway and the command line.
func TestTheWholeJobRunsOnAnExternalBroker(t *testing.T) {
	t.Parallel()
	p, publisher := setupOwn(t)
	if _, stderr, code := p.cliWith([]string{"NATS_URL=" + p.broker.ClientURL()}, "broker", "setup", "--ack-wait", "10s"); code != 0 {
		t.Fatalf("broker setup: exit code %d, %s", code, stderr)
	}
	hook := newHook(t)
	p.start()
	p.start(append(hook.settings(), "ROLES=notifier", "DATABASE_URL=")...)
	p.start("ROLES=verifier", "VERIFY_SCRATCH_URL="+cluster.URL("postgres"))
	expect := func(want int, args ...string) string {
		t.Helper()
		stdout, stderr, code := p.cli(args...)
		if code != want || strings.Contains(stderr, "ermission") {
			t.Fatalf("%q: exit code %d, want %d\n%s%s", args, code, want, stdout, stderr)
		}
		return stdout
	}
	p.outcomes += 3
	expect(0, "request", "acme", "--id", "one", "--wait")
	expect(1, "request", "nobody", "--id", "two", "--wait")
	if v := p.verification("acme", "one"); v.Verified == nil {
		t.Errorf("not verified: %+v", v)
	}
	expect(0, "watch", "one", "--project", "acme")
	expect(1, "replay", "two", "--wait")
	expect(0, "replay", "--failed", "--dry-run")
	expect(6, "cancel", "one")
	expect(0, "schedule", "add", "acme", "--cron", "0 3 * * *")
	expect(0, "schedule", "list")
	expect(0, "schedule", "rm", "acme")
	eventually(t, "all were told of", func() bool {
		var records []struct{ State string }
		if err := json.Unmarshal([]byte(expect(0, "list", "--notifications", "--output", "json")), &records); err != nil {
			t.Fatal(err)
		}
		return len(records) == 3 && !slices.ContainsFunc(records, func(r struct{ State string }) bool { return r.State != "sent" })
	})
	p.publishAsAcme(publisher)
	for i, w := range p.workers {
		if text := w.logs.String(); strings.Contains(text, "ermissions") {
			t.Errorf("worker %d was refused something:\n%s", i+1, text)
		}
	}
}

// publishAsAcme publishes with a key that may request exports of acme only: the subject is
// authoritative.
func (p *platform) publishAsAcme(key nkeys.KeyPair) {
	p.t.Helper()
	nc := p.as("acme", key)
	own, err := nc.SubscribeSync("backup.*.acme.*")
	if err != nil {
		p.t.Fatal(err)
	}
	publish := func(subject string, header nats.Header, body string) {
		m := &nats.Msg{Subject: subject, Header: header, Data: []byte(body)}
		if err := nc.PublishMsg(m); err != nil {
			p.t.Fatal(err)
		}
	}
	publish("backup.requested.acme", nil, `{"project_id":"globex","request_id":"other"}`)
	p.outcomes++
	p.failed("acme", "other", codes.InvalidRequest, 1)
	// The subject in the envelope has no effect.
	publish("backup.requested.acme", nats.Header{"ce-subject": {"globex/mine"}}, `{"project_id":"acme","request_id":"mine"}`)
	p.outcomes++
	p.completed("acme", "mine")
	heard := map[string]bool{}
	for !heard["backup.completed.acme.mine"] {
		m, err := own.NextMsg(timeout)
		if err != nil {
			p.t.Fatal(err)
		}
		heard[m.Subject] = true
	}
	if !heard["backup.failed.acme.other"] {
		p.t.Errorf("received %v", heard)
	}
	publish("backup.requested.globex", nil, `{"project_id":"globex"}`)
	if err := nc.FlushTimeout(timeout); err != nil || nc.LastError() == nil || !strings.Contains(nc.LastError().Error(), "backup.requested.globex") {
		p.t.Errorf("asking for another project: %v, %v", err, nc.LastError())
	}
}

// Without a key the broker refuses, and a command says which key it lacks.
func TestACommandSaysWhichKeyItLacks(t *testing.T) {
	t.Parallel()
	p := setup(t)
	for name, c := range map[string]struct {
		settings []string
		code     int
		want     string
	}{
		"no key":      {[]string{"NATS_KEYS="}, 5, "refused the credentials"},
		"no folder":   {[]string{"NATS_KEYS=/nonexistent"}, 2, "/nonexistent/gateway.nk is missing"},
		"another key": {[]string{"NATS_KEYS=", "NATS_NKEY=" + p.strangeKey()}, 5, "refused the credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, stderr, code := p.cliWith(c.settings, "request", "acme"); code != c.code || !strings.Contains(stderr, c.want) {
				t.Errorf("exit code %d, want %d: %s", code, c.code, stderr)
			}
		})
	}
}

func (p *platform) strangeKey() string {
	p.t.Helper()
	dir := p.t.TempDir()
	if _, err := server.EnsureKeys(dir, []server.User{server.UserGateway}, slog.New(slog.DiscardHandler)); err != nil {
		p.t.Fatal(err)
	}
	return server.KeyFile(dir, server.UserGateway)
}
