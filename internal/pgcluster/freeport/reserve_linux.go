package freeport

import (
	"errors"
	"strconv"
	"syscall"
)

// reserve notes that a port is given away, as the name of a socket, which the kernel forgets when
// this process ends. false: it is given away already. Where no such socket can be made, nothing is
// noted.
func reserve(port int) bool {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return true
	}
	// The @ stands for a name that is no file.
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: "@pgcourier-port-" + strconv.Itoa(port)}); err != nil {
		_ = syscall.Close(fd)
		return !errors.Is(err, syscall.EADDRINUSE)
	}
	return true
}
