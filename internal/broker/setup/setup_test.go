package setup_test

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/broker/setup"
	"github.com/pgcourier/pgcourier/internal/config"
)

func load(t *testing.T, environ ...string) config.Config {
	t.Helper()
	c, err := config.Load(environ, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ExampleUsers() {
	c, err := config.Load([]string{"PGCOURIER_ROLES=worker,notifier,verifier", "PGCOURIER_WEBHOOK_URL=https://example.org/hook", "PGCOURIER_WEBHOOK_SECRET=whsec_x"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(setup.Users(c), setup.Channels(c))
	// Output: [worker verifier notifier] [webhook]
}

// An external broker without a folder of keys has one login for all users.
func TestKeysAreTheEmbeddedBrokersUnlessAnotherIsNamed(t *testing.T) {
	t.Parallel()
	for want, environ := range map[string][]string{
		server.KeysDir("/data"): {"PGCOURIER_DATA_DIR=/data"},
		"/keys":                 {"PGCOURIER_NATS_KEYS=/keys", "PGCOURIER_NATS_URL=nats://broker"},
		"":                      {"PGCOURIER_NATS_URL=nats://broker", "PGCOURIER_DATA_DIR=/data"},
	} {
		if got := setup.KeysDir(load(t, environ...)); got != want {
			t.Errorf("%q: %q, want %q", environ, got, want)
		}
	}
}

// An environment from an earlier version has no key for the API. The API then uses the operator's.
func TestTheAPILogsInAsTheOperatorWhereItHasNoKey(t *testing.T) {
	t.Parallel()
	for want, users := range map[server.User][]server.User{
		server.UserAPI:      {server.UserAPI, server.UserOperator},
		server.UserOperator: {server.UserOperator},
	} {
		dir := t.TempDir()
		if _, err := server.EnsureKeys(dir, users, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		if got := setup.KeyOf(dir, server.UserAPI); got != want {
			t.Errorf("of %q: %s, want %s", users, got, want)
		}
	}
	if got := setup.KeyOf(t.TempDir(), server.UserAPI); got != server.UserAPI {
		t.Errorf("of an empty folder: %s", got) // its key is the one to ask for
	}
}

// Only a fault that may pass by itself is not a fault of the configuration.
func TestAMissingServerIsNoFaultOfTheConfiguration(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	_, err := setup.Connect(load(t, "PGCOURIER_DATA_DIR="+dir), server.UserWorker, log)
	if _, fault := errors.AsType[*config.Error](err); fault || !errors.Is(err, server.ErrNoServer) {
		t.Errorf("no server: %v", err)
	}
	_, err = setup.Connect(load(t, "PGCOURIER_NATS_URL=nats://127.0.0.1:1", "PGCOURIER_NATS_KEYS="+filepath.Join(dir, "none")), server.UserWorker, log)
	if _, fault := errors.AsType[*config.Error](err); !fault {
		t.Errorf("no key: %v", err)
	}
}

func TestTheTopologyHoldsWhatTheRolesNeed(t *testing.T) {
	t.Parallel()
	hook := []string{"PGCOURIER_WEBHOOK_URL=https://example.org/hook", "PGCOURIER_WEBHOOK_SECRET=whsec_x"}
	if got := setup.Topology(load(t, hook...)); !slices.Equal(got.Notifications, []string{"webhook"}) || got.Verifier {
		t.Errorf("with a notifier: %+v", got)
	}
	if got := setup.Topology(load(t, append(hook, "PGCOURIER_ROLES=worker,verifier")...)); got.Notifications != nil || !got.Verifier {
		t.Errorf("with a verifier: %+v", got)
	}
}
