package file

import (
	"os"

	"golang.org/x/sys/unix"
)

// flush brings a part of a file to the device and asks the kernel to forget it, so that reading it
// reads the device. It guarantees nothing: fsync makes the file durable, and a file system that
// does not know the advice ignores it.
func flush(f *os.File, from, size int64) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
		_ = unix.SyncFileRange(int(fd), from, size, all)
		_ = unix.Fadvise(int(fd), from, size, unix.FADV_DONTNEED)
	})
}
