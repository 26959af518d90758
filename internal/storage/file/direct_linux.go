package file

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// setDirect lets what is written to and read from f go past the page cache, or through it
// again. It reports whether it goes past it now.
func setDirect(f *os.File, on bool) bool {
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	set := false
	_ = conn.Control(func(fd uintptr) {
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		if err != nil {
			return
		}
		want := flags &^ unix.O_DIRECT
		if on {
			want |= unix.O_DIRECT
		}
		if _, err := unix.FcntlInt(fd, unix.F_SETFL, want); err == nil {
			set = on
		}
	})
	return set
}

// isInvalid says whether the file system refused a direct write for being one.
func isInvalid(err error) bool { return errors.Is(err, unix.EINVAL) }

// reserve makes f longer and has the file system set room aside for it. It guarantees nothing: a
// write past the end makes the file longer as well, and fails when there is no room.
func reserve(f *os.File, from, size int64) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _ = unix.Fallocate(int(fd), 0, from, size) })
}
