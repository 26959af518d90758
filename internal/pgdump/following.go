package pgdump

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/pgdump/archive"
)

// lookEvery is how often the spool is measured.
const lookEvery = 50 * time.Millisecond

// watchFolder lets the kernel tell of each file that is made in a folder, and of each that
// its writer has closed. pg_dump opens a table's file once, so a closed one is finished. Its
// own words are no evidence: a table's name can hold anything, a line of its log too.
func watchFolder(path string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_CREATE|unix.IN_CLOSE_WRITE|unix.IN_ONLYDIR); err != nil {
		return nil, errors.Join(fmt.Errorf("watch the spool: %w", err), f.Close())
	}
	return f, nil
}

// follow starts watching what pg_dump writes and keeping it within its bound. fail ends the
// dump with a reason.
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

// unfollow ends it and waits for its end.
func (s *spooled) unfollow() {
	s.over.Store(true)
	_ = s.notices.Close() // it may be closed already
	s.idle.Wait()
}

// look waits so long for news of the folder and takes them in. It reports false once there
// will be none.
func (s *spooled) look(wait time.Duration) (bool, error) {
	if err := s.notices.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return false, s.deaf(err)
	}
	buf := make([]byte, 16<<10)
	n, err := s.notices.Read(buf)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return true, nil
	case err != nil:
		return false, s.deaf(err)
	}
	return true, s.take(buf[:n])
}

// deaf is why nothing more is heard of the folder; nil: nobody wants to.
func (s *spooled) deaf(err error) error {
	if s.over.Load() {
		return nil
	}
	return newFault(codes.SpoolUnavailable, "the worker's spool cannot be watched", err)
}

// take reads notices: a header of 16 bytes each, in the machine's order, and a name padded
// with zeros (inotify(7)).
func (s *spooled) take(notices []byte) error {
	for len(notices) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(notices[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(notices[12:]))
		if end > len(notices) {
			break
		}
		name := strings.TrimRight(string(notices[unix.SizeofInotifyEvent:end]), "\x00")
		notices = notices[end:]
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0:
			return newFault(codes.SpoolUnavailable, "the worker's spool cannot be watched", errors.New("inotify: notices were lost"))
		case name == tocFile || !archive.DirectoryFile(name): // collect looks at what is left
		case mask&unix.IN_CREATE != 0:
			s.mu.Lock()
			s.writing[name] = struct{}{}
			s.mu.Unlock()
		case mask&unix.IN_CLOSE_WRITE != 0:
			if err := s.finish(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// finish makes a file ready, unless it was so already.
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
	// A writer that dies closes its file as well, and reading it makes room: if there was
	// none now, that is why it died.
	s.tight = s.crowded()
	delete(s.writing, name)
	s.known[name] = struct{}{}
	s.ready = append(s.ready, finished{name, info.Size()})
	s.held += info.Size()
	for _, c := range []chan struct{}{s.wake, s.dumped} {
		select {
		case c <- struct{}{}:
		default: // Read has not looked yet; or it is toc.dat
		}
	}
	return nil
}

// balance pauses pg_dump while the spool is over its bound, and lets it go on below three
// quarters of it. If there is nothing to hand on, pausing cannot help.
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
		// What it closed just before may not be known yet.
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

// measure returns how many bytes the spool holds, and how many of them can be handed on.
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
