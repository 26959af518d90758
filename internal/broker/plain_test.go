package broker_test

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// plainServer is a nats-server without users that keeps what it acknowledges, for tests of
// what has nothing to do with rights. Clients find it on the same port after a restart.
type plainServer struct {
	*server.Server
	end func()
}

func startPlain(dir string, port int) (*plainServer, error) {
	return startPlainIn(filepath.Join(dir, "plain"), port)
}

func startPlainIn(store string, port int) (*plainServer, error) {
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: store, SyncAlways: true, NoSigs: true, NoLog: true,
	})
	if err != nil {
		return nil, err
	}
	go srv.Start()
	p := &plainServer{srv, sync.OnceFunc(func() { srv.Shutdown(); srv.WaitForShutdown() })}
	if !srv.ReadyForConnections(patience) {
		p.end()
		return nil, errors.New("server is not ready")
	}
	return p, nil
}

// Shutdown ends the server. It is idempotent.
func (p *plainServer) Shutdown() error { p.end(); return nil }

func start(t *testing.T, dir string, port int) *plainServer {
	t.Helper()
	p, err := startPlain(dir, port)
	must(t, err)
	t.Cleanup(p.end)
	return p
}
