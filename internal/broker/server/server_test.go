package server_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/broker/server"
	"github.com/pgcourier/pgcourier/internal/dev/brokertest"
)

func startEmbedded(t *testing.T, dir string, port int) *server.Server {
	t.Helper()
	srv, err := server.Start(server.Config{DataDir: dir, Port: port, Logger: brokertest.Quiet()})
	must(t, err)
	t.Cleanup(func() { _ = srv.Shutdown() })
	return srv
}

func admin(t *testing.T, srv *server.Server) *nats.Conn {
	t.Helper()
	nc, err := srv.ConnectAdmin(brokertest.Quiet())
	must(t, err)
	t.Cleanup(nc.Close)
	return nc
}

func TestServerKeepsItsFolderToItself(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := server.URL(dir); !errors.Is(err, server.ErrNoServer) {
		t.Errorf("before the start: %v", err)
	}
	srv := startEmbedded(t, dir, brokertest.RandomPort)
	url, err := server.URL(dir)
	must(t, err)
	if url != srv.ClientURL() {
		t.Errorf("URL file says %q, server %q", url, srv.ClientURL())
	}
	for path, want := range map[string]os.FileMode{"nats.url": 0o600, "broker": 0o700 | os.ModeDir} {
		info, err := os.Stat(filepath.Join(dir, path))
		must(t, err)
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
	}
	config := server.Config{DataDir: dir, Port: brokertest.RandomPort, Logger: brokertest.Quiet()}
	if _, err := server.Start(config); !errors.Is(err, server.ErrStoreLocked) {
		t.Errorf("second start: %v", err)
	}
	if again, err := server.URL(dir); err != nil || again != url {
		t.Errorf("the second start changed the URL file: %q, %v", again, err)
	}
	must(t, srv.Shutdown())
	must(t, srv.Shutdown())
	if _, err := server.URL(dir); !errors.Is(err, server.ErrNoServer) {
		t.Errorf("after the end: %v", err)
	}
}

func TestServerKeepsMessages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := startEmbedded(t, dir, brokertest.RandomPort)
	js := stream(t, admin(t, srv))
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	must(t, err)
	_, err = js.Publish(t.Context(), "s", []byte("kept"))
	must(t, err)
	must(t, srv.Shutdown())
	js = stream(t, admin(t, startEmbedded(t, dir, brokertest.RandomPort)))
	s, err := js.Stream(t.Context(), "S")
	must(t, err)
	m, err := s.GetMsg(t.Context(), 1)
	must(t, err)
	if string(m.Data) != "kept" {
		t.Errorf("got %q", m.Data)
	}
}

func TestServerSaysWhyItDoesNotStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := server.Config{DataDir: dir, Port: brokertest.PortOf(t, shared.ClientURL()), Logger: brokertest.Quiet()}
	if _, err := server.Start(config); err == nil {
		t.Fatal("started on a taken port")
	}
	if _, err := server.URL(dir); !errors.Is(err, server.ErrNoServer) {
		t.Errorf("a server that did not start left its URL: %v", err)
	}
	startEmbedded(t, dir, brokertest.RandomPort) // the lock was released
}
