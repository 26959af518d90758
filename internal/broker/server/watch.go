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
	// sightings is the number of checks in a row that find the same fault before it counts. A stream
	// that is being created or removed is on the disk and not in memory, which looks like a fault.
	sightings = 3
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

// Watch restarts the server when its store stays faulty and the disk has room, until ctx ends. Clients
// reconnect by themselves. Watch calls tell with the reason why the server accepts no messages, or nil.
// The error wraps broker.ErrUnreachable: the server cannot be restarted, or that does not help.
func (s *Server) Watch(ctx context.Context, tell func(error)) error {
	look := time.NewTicker(watchEvery)
	defer look.Stop()
	seen := repeated{}
	for attempts := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		fault := s.Fault()
		if fault == nil {
			attempts, seen = 0, repeated{}
			tell(nil)
			continue
		}
		if seen.add(fault) < sightings {
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
			err = fault // until a check finds none
		} else {
			tell(err)
		}
		if attempts++; attempts == restarts {
			return fmt.Errorf("%w: %w", broker.ErrUnreachable, err)
		}
	}
}

// repeated counts how often the same fault was found in a row.
type repeated struct {
	fault string
	times int
}

func (r *repeated) add(fault error) int {
	if text := fault.Error(); text != r.fault {
		*r = repeated{fault: text}
	}
	r.times++
	return r.times
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
