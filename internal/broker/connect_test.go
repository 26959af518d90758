package broker_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

const canary = "canary-secret"

func TestConnectRefusesBadConfiguration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]broker.Config{
		"no URL":                {},
		"malformed URL":         {URLs: []string{"nats://me:" + canary + "@host:port:port"}},
		"a slash in a token":    {URLs: []string{"nats://tok/" + canary + "@host"}},
		"foreign scheme":        {URLs: []string{"http://me:" + canary + "@host"}},
		"two ways to log in":    {URLs: []string{"nats://me:" + canary + "@host"}, Token: canary},
		"certificate alone":     {URLs: []string{"tls://host"}, CertFile: "x"},
		"missing credentials":   {URLs: []string{"nats://host"}, CredentialsFile: "/nonexistent"},
		"missing seed":          {URLs: []string{"nats://host"}, NKeySeedFile: "/nonexistent"},
		"missing CA":            {URLs: []string{"nats://host"}, CAFile: "/nonexistent"},
		"missing certificate":   {URLs: []string{"nats://host"}, CertFile: "/nonexistent", KeyFile: "/nonexistent"},
		"CA without a PEM text": {URLs: []string{"nats://host"}, CAFile: "connect_test.go"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := broker.Connect(c)
			if err == nil {
				t.Fatal("accepted")
			}
			if errors.Is(err, broker.ErrUnreachable) || strings.Contains(err.Error(), canary) {
				t.Errorf("error %q", err)
			}
			if text := fmt.Sprintf("%v %+v %#v", c.Token, c.Token, c.Token); strings.Contains(text, canary) {
				t.Errorf("token printed: %s", text)
			}
		})
	}
}

func TestConnectLogsIn(t *testing.T) {
	t.Parallel()
	user, err := nkeys.CreateUser()
	must(t, err)
	public, err := user.PublicKey()
	must(t, err)
	seed, err := user.Seed()
	must(t, err)
	seedFile := filepath.Join(t.TempDir(), "seed")
	must(t, os.WriteFile(seedFile, seed, 0o600))
	keyed := brokertest.Raw(t, &server.Options{Nkeys: []*server.NkeyUser{{Nkey: public}}}).ClientURL()
	named := brokertest.Raw(t, &server.Options{Username: "worker", Password: canary}).ClientURL()
	tokened := brokertest.Raw(t, &server.Options{Authorization: canary}).ClientURL()

	for name, c := range map[string]broker.Config{
		"nkey":             {URLs: []string{keyed}, NKeySeedFile: seedFile},
		"name":             {URLs: []string{named}, User: "worker", Password: canary},
		"userinfo":         {URLs: []string{strings.Replace(named, "nats://", "nats://worker:"+canary+"@", 1)}},
		"token":            {URLs: []string{tokened}, Token: canary},
		"second of two":    {URLs: []string{"nats://127.0.0.1:1", tokened}, Token: canary},
		"inbox of its own": {URLs: []string{tokened}, Token: canary, InboxPrefix: "_INBOX_worker"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.Logger = brokertest.Quiet()
			nc, err := broker.Connect(c)
			must(t, err)
			defer nc.Close()
			if inbox := nc.NewInbox(); c.InboxPrefix != "" && !strings.HasPrefix(inbox, c.InboxPrefix+".") {
				t.Errorf("inbox %q", inbox)
			}
		})
	}
	for name, c := range map[string]broker.Config{
		"nobody":         {URLs: []string{keyed}},
		"wrong password": {URLs: []string{named}, User: "worker", Password: canary + "x"},
		"wrong token":    {URLs: []string{tokened}, Token: canary + "x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := broker.Connect(c)
			if !errors.Is(err, broker.ErrUnauthorized) || strings.Contains(err.Error(), canary) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestConnectWithoutBroker(t *testing.T) {
	t.Parallel()
	_, err := broker.Connect(broker.Config{URLs: []string{"nats://me:" + canary + "@127.0.0.1:1"}})
	if !errors.Is(err, broker.ErrUnreachable) || strings.Contains(err.Error(), canary) {
		t.Errorf("got %v", err)
	}
}

// guard accepts or refuses clients, and counts the refused ones.
type guard struct {
	open    atomic.Bool
	refused atomic.Int64
}

func (g *guard) Check(server.ClientAuthentication) bool {
	if !g.open.Load() {
		g.refused.Add(1)
	}
	return g.open.Load()
}

// If credentials are refused for a while, the connection must survive.
func TestConnectionSurvivesRevokedCredentials(t *testing.T) {
	t.Parallel()
	g := &guard{}
	g.open.Store(true)
	srv := brokertest.Raw(t, &server.Options{CustomClientAuthentication: g})
	port := brokertest.PortOf(t, srv.ClientURL())
	nc := connect(t, srv.ClientURL())
	srv.Shutdown()
	srv.WaitForShutdown()
	g.open.Store(false)
	brokertest.Raw(t, &server.Options{CustomClientAuthentication: g, Port: port})
	// The library gives up after two refusals.
	brokertest.Eventually(t, "refused three times", func() bool { return g.refused.Load() >= 3 })
	if nc.IsClosed() {
		t.Fatal("the connection gave up")
	}
	g.open.Store(true)
	brokertest.Eventually(t, "connection is back", nc.IsConnected)
}
