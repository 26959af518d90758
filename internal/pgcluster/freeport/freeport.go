// Package freeport finds TCP ports for servers that are stopped and started again on the same port.
package freeport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"syscall"
)

// Ports below first are left to well-known services. Without other word the kernel's own range
// begins at kernelFirst, which is Linux's default.
const (
	first       = 10000
	kernelFirst = 32768
)

// Get returns a port of 127.0.0.1 that is free now. It is below the range from which the kernel
// takes the ports of connections and of listeners that name none, so that none of these gets it
// while the server is down. On Linux no other call of Get on this machine returns the same port
// for as long as this process lives.
func Get() (int, error) {
	end := kernelFirst
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(b), &end) // else it is as the default
	}
	for {
		port, err := below(end)
		if err != nil || reserve(port) {
			return port, err
		}
	}
}

func below(end int) (int, error) {
	if end <= first {
		return listen(0) // the kernel's own range is all that there is
	}
	var port int
	var err error
	for range 1000 {
		if port, err = listen(first + rand.IntN(end-first)); !errors.Is(err, syscall.EADDRINUSE) { //nolint:gosec // no secret
			break
		}
	}
	return port, err
}

func listen(port int) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return 0, fmt.Errorf("look for a free port: %w", err)
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
