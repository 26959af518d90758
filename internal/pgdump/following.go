package pgdump

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// lookEvery is the pause between two measurements of the spool.
const lookEvery = 50 * time.Millisecond

// follow starts to watch pg_dump's files and to keep them within the bound. fail ends the dump with an
// error.
func (s *spooled) follow(fail func(error)) {
	s.fail = fail
	s.idle.Go(func() {
		for {
			again, err := s.look(lookEvery)
			if err == nil && again {
				err = s.balance()
			}
			if err != nil {
				fail(err)
			}
			if err != nil || !again {
				return
			}
		}
	})
}

// unfollow ends the watching and waits for its goroutine.
func (s *spooled) unfollow() {
	s.over.Store(true)
	_ = s.notices.Close() // may be closed already
	s.idle.Wait()
}

// look waits for events of the folder and handles them. It returns false when there will be no more.
func (s *spooled) look(wait time.Duration) (bool, error) {
	if err := s.notices.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return false, s.watchErr(err)
	}
	buf := make([]byte, 16<<10)
	n, err := s.notices.Read(buf)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return true, nil
	case err != nil:
		return false, s.watchErr(err)
	}
	return true, s.take(buf[:n])
}

// watchErr returns the error of watching the folder; nil after unfollow.
func (s *spooled) watchErr(err error) error {
	if s.over.Load() {
		return nil
	}
	return newFault(codes.SpoolUnavailable, "the worker's spool cannot be watched", err)
}

// take handles events.
func (s *spooled) take(notices []byte) error {
	all, err := readNotices(notices)
	for _, n := range all {
		switch {
		case n.name == tocFile || !archive.DirectoryFile(n.name): // collect handles these
		case n.created:
			s.mu.Lock()
			s.writing[n.name] = struct{}{}
			s.mu.Unlock()
		case n.closed:
			if err := s.finish(n.name); err != nil {
				return err
			}
		}
	}
	if err != nil {
		return newFault(codes.SpoolUnavailable, "the worker's spool cannot be watched", err)
	}
	return nil
}

// finish makes a file ready, unless it is already.
func (s *spooled) finish(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.known[name]; twice {
		return nil
	}
	info, err := s.folder.Root().Lstat(name)
	if err != nil {
		return newFault(codes.SpoolUnavailable, "the worker's spool cannot be read", err)
	}
	if !info.Mode().IsRegular() {
		return newFault(codes.DumpIncomplete, "pg_dump wrote a file of an unknown kind", fmt.Errorf("%q", name))
	}
	// A writer that dies of a full disk closes its file too, and reading that file frees space. So
	// the free space is checked now.
	s.tight = s.crowded()
	delete(s.writing, name)
	s.known[name] = struct{}{}
	s.ready = append(s.ready, finished{name, info.Size()})
	s.held += info.Size()
	for _, c := range []chan struct{}{s.wake, s.dumped} {
		select {
		case c <- struct{}{}:
		default: // a value is pending already, or it is toc.dat
		}
	}
	return nil
}

// balance pauses pg_dump while the spool is over its bound, and continues it below three quarters. If
// no finished file can be read, pausing cannot help.
func (s *spooled) balance() error {
	used, held := s.measure()
	switch {
	case used <= s.limit*3/4 || held == 0 && used <= s.limit:
		s.process.Resume()
	case used > s.limit:
		s.process.Pause()
		if held > 0 {
			return nil
		}
		// The event of a file that was just closed may not have arrived yet.
		if again, err := s.look(lookEvery); err != nil || !again {
			return err
		}
		if used, held = s.measure(); held == 0 && used > s.limit {
			return newFault(codes.SpoolLimit,
				fmt.Sprintf("the tables dumped at once are larger than the spool's %d bytes: ask for fewer jobs or another format, or allow more", s.limit), nil)
		}
	}
	return nil
}

// measure returns how many bytes the spool holds, and how many of them are in finished files.
func (s *spooled) measure() (used, held int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	used = s.held
	for name := range s.writing {
		info, err := s.folder.Root().Lstat(name)
		if errors.Is(err, fs.ErrNotExist) { // as after the end
			continue
		}
		if err == nil {
			used += info.Size()
		}
	}
	s.used = used
	return used, s.held
}
