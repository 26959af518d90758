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
	// watchEvery is how often the store is looked at: its state is in memory.
	watchEvery = 2 * time.Second
	// restarts is how often a restart is tried while the disk has room.
	restarts = 10
	// leastRoom is what the disk must take before the server is started again.
	leastRoom = 256 << 10
)

var errStopped = errors.New("the embedded broker is stopped")

// Fault returns why the server takes no messages; nil: it does, as far as it knows. nats-server
// takes no message for a stream any more once a write has failed, for instance on a full
// disk, until it is started again. It does not answer publishers either.
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

// Watch starts the server again when its store is broken and the disk has room, until ctx ends.
// Clients reconnect by themselves. tell hears why the server takes no messages, each time it is
// looked at, and nil when it does. The error wraps broker.ErrUnreachable: it cannot be
// started any more.
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
			continue // and look whether it holds
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

// restart ends the server and starts it again on the same store, port and keys.
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
