package server_test

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

func TestKeysAreMadeOnceAndKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data", "keys")
	first, err := server.EnsureKeys(dir, server.Users(), brokertest.Quiet())
	must(t, err)
	again, err := server.EnsureKeys(dir, server.Users(), brokertest.Quiet())
	must(t, err)
	different := map[string]bool{}
	for _, u := range server.Users() {
		different[first[u]] = true
		if again[u] != first[u] {
			t.Errorf("the key of %s was made anew", u)
		}
		if info, err := os.Stat(server.KeyFile(dir, u)); err != nil || info.Mode() != 0o600 {
			t.Errorf("the key of %s: %v, %v", u, info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info.Mode(), err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != len(server.Users()) || len(different) != len(names) {
		t.Errorf("the folder holds %v (%v), %d keys differ", names, err, len(different))
	}
	// A deleted key is made again; the others stay.
	must(t, os.Remove(server.KeyFile(dir, server.UserGateway)))
	third, err := server.EnsureKeys(dir, server.Users(), brokertest.Quiet())
	must(t, err)
	if third[server.UserGateway] == first[server.UserGateway] || third[server.UserWorker] != first[server.UserWorker] {
		t.Error("the wrong keys were made anew")
	}
}

func TestOpenKeysAreClosedAndReported(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	_, err := server.EnsureKeys(dir, server.Users(), brokertest.Quiet())
	must(t, err)
	must(t, os.Chmod(dir, 0o755))                                    // #nosec G302 -- what is to be fixed
	must(t, os.Chmod(server.KeyFile(dir, server.UserWorker), 0o644)) // #nosec G302 -- what is to be fixed
	must(t, os.Chmod(server.KeyFile(dir, server.UserGateway), 0o400))
	var log bytes.Buffer
	_, err = server.EnsureKeys(dir, server.Users(), slog.New(slog.NewTextHandler(&log, nil)))
	must(t, err)
	for path, want := range map[string]fs.FileMode{
		dir: 0o700, server.KeyFile(dir, server.UserWorker): 0o600, server.KeyFile(dir, server.UserGateway): 0o600,
	} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v (%v)", path, info.Mode(), err)
		}
	}
	if text := log.String(); strings.Count(text, "was open to other users") != 2 || strings.Contains(text, "gateway.nk") {
		t.Errorf("the log says %q", text)
	}
}

func TestStrangeKeysAreRefused(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(file string) error{
		"a link":      func(file string) error { return os.Symlink("/etc/hostname", file) },
		"a folder":    func(file string) error { return os.Mkdir(file, 0o700) },
		"no seed":     func(file string) error { return os.WriteFile(file, []byte(canary+"\n"), 0o600) },
		"half a seed": func(file string) error { return os.WriteFile(file, []byte("SUAA"), 0o600) },
		"an account's": func(file string) error {
			return os.WriteFile(file, []byte("SAAJNFXK5WRNUIQFTFCJIRX5QYPWFGFYMVHSXBNVHJ7JKSJYVQPDVRGQ3M"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			must(t, plant(server.KeyFile(dir, server.UserWorker)))
			_, err := server.EnsureKeys(dir, []server.User{server.UserWorker}, brokertest.Quiet())
			if err == nil || strings.Contains(err.Error(), canary) || !strings.Contains(err.Error(), "worker.nk") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAnUnreadableKeyNamesTheUserThatMayReadIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := server.FindKey(dir, server.UserOperator)
	if key, ok := errors.AsType[*server.KeyError](err); !ok || key.User != server.UserOperator || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing key: %v", err)
	}
	err = &server.KeyError{User: server.UserGateway, File: "keys/gateway.nk", Owner: 997, Err: fs.ErrPermission}
	if text := err.Error(); !strings.Contains(text, "gateway") || !strings.Contains(text, "997") {
		t.Errorf("the error says %q", text)
	}
}

// A data folder from a version without users can still be used, with its messages.
func TestAnOldFolderGetsUsersAndKeepsItsMessages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old, err := brokertest.StartPlainIn(filepath.Join(dir, "broker"), brokertest.RandomPort)
	must(t, err)
	before := stream(t, connect(t, old.ClientURL()))
	must(t, broker.Provision(t.Context(), before, everything))
	_, err = before.Publish(t.Context(), "backup.requested.acme", []byte(`{"project_id":"acme"}`))
	must(t, err)
	was, err := before.Stream(t.Context(), "BACKUP_REQUESTS")
	must(t, err)
	old.Shutdown()
	for range 2 { // the second start finds everything in its place
		srv := startEmbedded(t, dir, brokertest.RandomPort)
		js := stream(t, admin(t, srv))
		must(t, broker.Provision(t.Context(), js, everything))
		is, err := js.Stream(t.Context(), "BACKUP_REQUESTS")
		must(t, err)
		if m, err := is.GetMsg(t.Context(), 1); err != nil || m.Subject != "backup.requested.acme" {
			t.Errorf("the message: %+v, %v", m, err)
		}
		// The ids of events derive from the identity of the stream.
		if !is.CachedInfo().Created.Equal(was.CachedInfo().Created) {
			t.Errorf("the stream was made %s, and is of %s", was.CachedInfo().Created, is.CachedInfo().Created)
		}
		if _, err := js.Consumer(t.Context(), "BACKUP_REQUESTS", "export-worker"); err != nil {
			t.Error(err)
		}
		must(t, srv.Shutdown())
	}
}
