package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"

	"github.com/pgcourier/pgcourier/internal/broker"
)

const (
	// watchEvery is the pause between two checks of the store. A check reads memory only.
	watchEvery = 2 * time.Second
	// restarts bounds the attempts to restart while the disk has room.
	restarts = 10
	// leastRoom is the space that the disk must have before a restart.
	leastRoom = 256 << 10
)

var errStopped = errors.New("the embedded broker is stopped")

// Fault returns why the server accepts no messages; nil: no fault is known. After a failed write,
// for instance on a full disk, nats-server accepts no message for that stream until it is
// restarted. It does not answer publishers either.
func (s *Server) Fault() error {
	srv := s.running()
	if srv == nil {
		return errStopped
	}
	if h := srv.Healthz(&natsd.HealthzOptions{}); h.Error != "" {
		return errors.New(h.Error)
	}
	return nil
}

// Watch restarts the server when its store is faulty and the disk has room, until ctx ends. Clients
// reconnect by themselves. Watch calls tell at each check with the reason why the server accepts no
// messages, or nil. The error wraps broker.ErrUnreachable: the server cannot be restarted.
func (s *Server) Watch(ctx context.Context, tell func(error)) error {
	look := time.NewTicker(watchEvery)
	defer look.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		fault := s.Fault()
		if fault == nil {
			failures = 0
			tell(nil)
			continue
		}
		if err := s.room(); err != nil {
			tell(fmt.Errorf("%w; its disk takes nothing: %w", fault, err))
			continue
		}
		s.log.WarnContext(ctx, "starting the embedded broker again: its store is broken, and the disk has room", "error", fault)
		err := s.restart()
		if err == nil {
			s.log.InfoContext(ctx, "embedded broker started again", "url", s.url)
			continue // the next check verifies the restart
		}
		tell(err)
		if failures++; failures == restarts {
			return fmt.Errorf("%w: %w", broker.ErrUnreachable, err)
		}
	}
}

// room writes, syncs and removes a file in the store.
func (s *Server) room() error {
	file := filepath.Join(s.store, "room")
	f, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) // #nosec G304 -- in our own folder
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, leastRoom))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(file))
}

// restart stops the server and starts it again with the same store, port and keys.
func (s *Server) restart() error {
	s.restarting.Lock()
	defer s.restarting.Unlock()
	if srv := s.running(); srv != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
	if s.over {
		return errStopped
	}
	s.set(nil)
	srv, err := s.start(s.config, s.store, s.log)
	if err != nil {
		return err
	}
	s.set(srv)
	return nil
}
