package file

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCache asks the kernel to forget the file's clean pages, so that reading it back
// reads the device. A file system that does not know the advice ignores it.
func dropCache(f *os.File) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _ = unix.Fadvise(int(fd), 0, 0, unix.FADV_DONTNEED) })
}
