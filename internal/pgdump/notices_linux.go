package pgdump

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// watchFolder returns an inotify file with an event for each file that is created in a folder, and for
// each that its writer closed.
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

// readNotices decodes inotify events: a header of 16 bytes each, in the machine's byte order, and a
// name padded with zeros (inotify(7)). An error means that events after the returned ones were lost.
func readNotices(b []byte) (all []notice, err error) {
	for len(b) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(b[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
		if end > len(b) {
			break
		}
		if mask&unix.IN_Q_OVERFLOW != 0 {
			return all, errors.New("inotify: notices were lost")
		}
		all = append(all, notice{
			name:    strings.TrimRight(string(b[unix.SizeofInotifyEvent:end]), "\x00"),
			created: mask&unix.IN_CREATE != 0, closed: mask&unix.IN_CLOSE_WRITE != 0,
		})
		b = b[end:]
	}
	return all, nil
}

// openUnnamed opens a file without a name in a folder.
func openUnnamed(dir string) (int, error) {
	return unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
}
