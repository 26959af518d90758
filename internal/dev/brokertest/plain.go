package brokertest

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/pgcourier/pgcourier/internal/pgcluster/freeport"
)

// Plain is a nats-server without users that keeps its messages, for tests that do not need rights.
// It has the same port after a restart.
type Plain struct {
	*server.Server
	end func()
}

// StartPlain starts a server that stores its messages below dir.
func StartPlain(dir string, port int) (*Plain, error) {
	return StartPlainIn(filepath.Join(dir, "plain"), port)
}

// StartPlainIn starts a server on a store.
func StartPlainIn(store string, port int) (*Plain, error) {
	port, err := fixed(port)
	if err != nil {
		return nil, err
	}
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: store, SyncAlways: true, NoSigs: true, NoLog: true,
	})
	if err != nil {
		return nil, err
	}
	go srv.Start()
	p := &Plain{srv, sync.OnceFunc(func() { srv.Shutdown(); srv.WaitForShutdown() })}
	if !srv.ReadyForConnections(Timeout) {
		p.end()
		return nil, errors.New("server is not ready")
	}
	return p, nil
}

// fixed chooses a port for RandomPort, which is still free when the server is started again.
func fixed(port int) (int, error) {
	if port != RandomPort {
		return port, nil
	}
	return freeport.Get()
}

// Shutdown ends the server. It is idempotent.
func (p *Plain) Shutdown() { p.end() }

// Start is StartPlain for one test.
func Start(t testing.TB, dir string, port int) *Plain {
	t.Helper()
	p, err := StartPlain(dir, port)
	Must(t, err)
	t.Cleanup(p.end)
	return p
}

// Raw starts a nats-server with an operator's configuration.
func Raw(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.NoLog, o.NoSigs = "127.0.0.1", true, true
	if o.Port == 0 {
		o.Port = RandomPort
	}
	port, err := fixed(o.Port)
	Must(t, err)
	o.Port = port
	srv, err := server.NewServer(o)
	Must(t, err)
	go srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(Timeout) {
		t.Fatal("server is not ready")
	}
	return srv
}
