package server_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

// everything is all users, streams and consumers of a broker.
var everything = broker.Topology{Verifier: true, Notifications: []string{"email", "webhook"}}

// guarded is a broker with users.
type guarded struct {
	t     *testing.T
	url   string
	keys  string // folder
	admin *nats.Conn
}

// publisherOf is the project of the one publisher that an external broker has beside Users.
const publisherOf = "acme"

// external runs a nats-server on a file as an administrator writes it, with the output of
// Configuration.
func external(t *testing.T) *guarded {
	t.Helper()
	dir := t.TempDir()
	g := &guarded{t: t, keys: filepath.Join(dir, "keys")}
	keys, err := server.EnsureKeys(g.keys, append(server.Users(), server.UserAdmin, publisher), brokertest.Quiet())
	must(t, err)
	users, err := server.Configuration(keys, map[string]string{publisherOf: keys[publisher]})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "users.conf"), []byte(users), 0o600))
	frame := fmt.Sprintf("listen: \"127.0.0.1:-1\"\njetstream { store_dir: %q, sync_interval: always }\ninclude users.conf\n", filepath.Join(dir, "store"))
	must(t, os.WriteFile(filepath.Join(dir, "nats.conf"), []byte(frame), 0o600))
	opts, err := natsd.ProcessConfigFile(filepath.Join(dir, "nats.conf"))
	must(t, err)
	g.url = brokertest.Raw(t, opts).ClientURL()
	g.admin = g.connect(server.UserAdmin)
	must(t, errors.Join(broker.Provision(t.Context(), stream(t, g.admin), everything), broker.ProvisionSchedules(t.Context(), stream(t, g.admin), everything)))
	return g
}

// embedded runs the embedded server.
func embedded(t *testing.T) *guarded {
	t.Helper()
	dir := t.TempDir()
	srv := startEmbedded(t, dir, brokertest.RandomPort)
	g := &guarded{t: t, url: srv.ClientURL(), keys: server.KeysDir(dir), admin: admin(t, srv)}
	must(t, errors.Join(broker.Provision(t.Context(), stream(t, g.admin), everything), broker.ProvisionSchedules(t.Context(), stream(t, g.admin), everything)))
	return g
}

// connect logs in with the user's key.
func (g *guarded) connect(u server.User) *nats.Conn {
	g.t.Helper()
	file, err := server.FindKey(g.keys, u)
	must(g.t, err)
	prefix := u.InboxPrefix()
	if u == publisher {
		prefix = server.PublisherInbox(publisherOf)
	}
	nc, err := broker.Connect(broker.Config{URLs: []string{g.url}, NKeySeedFile: file, InboxPrefix: prefix, Logger: brokertest.Quiet()})
	must(g.t, err)
	g.t.Cleanup(nc.Close)
	return nc
}

// refusal returns the server's refusal of the last message on nc, or nil. The server answers in
// order, so the refusal arrives before the flush ends.
func refusal(t *testing.T, nc *nats.Conn) error {
	t.Helper()
	must(t, nc.FlushTimeout(brokertest.Timeout))
	return nc.LastError()
}

// shared is the broker of all tests that do not stop theirs.
var shared *brokertest.Plain

func TestMain(m *testing.M) {
	if dir := os.Getenv(fullDiskVariable); dir != "" {
		os.Exit(fillDisk(dir))
	}
	os.Exit(brokertest.Main(m, &shared))
}

const canary = "canary-secret"

func connect(t testing.TB, url string) *nats.Conn {
	t.Helper()
	return brokertest.Connect(t, url)
}

func stream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	return brokertest.JetStream(t, nc)
}

func must(t testing.TB, err error) {
	t.Helper()
	brokertest.Must(t, err)
}
