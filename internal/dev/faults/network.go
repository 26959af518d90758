package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// network is a network namespace for one worker, as on another machine. A pair of virtual devices
// connects it to the harness's. Cutting the pair closes no connection.
type network struct{ name, device string }

// The two ends are in the range that RFC 2544 reserves for tests, which is never routed.
const (
	networkHost  = "198.18.73.1"
	networkGuest = "198.18.73.2"
	networkRange = "198.18.73.0/30"
	networkBits  = "/30"
)

// openNetwork makes a network. The caller removes it.
func openNetwork(ctx context.Context) (*network, error) {
	tag := strconv.Itoa(os.Getpid())
	n := &network{name: "faults-" + tag, device: "flt" + tag} // a device's name has at most 15 bytes
	for _, args := range [][]string{
		{"netns", "add", n.name},
		{"link", "add", n.device, "type", "veth", "peer", "name", n.guest(), "netns", n.name},
		{"address", "add", networkHost + networkBits, "dev", n.device},
		{"link", "set", n.device, "up"},
		{"-netns", n.name, "address", "add", networkGuest + networkBits, "dev", n.guest()},
		{"-netns", n.name, "link", "set", n.guest(), "up"},
		{"-netns", n.name, "link", "set", "lo", "up"},
	} {
		if _, err := ip(ctx, args...); err != nil {
			return nil, errors.Join(&missingError{fmt.Sprintf("the program ip and the right to make network namespaces (%v)", err)}, n.remove())
		}
	}
	return n, nil
}

func (n *network) guest() string { return n.device + "g" }

// command runs a program within the network.
func (n *network) command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", n.name, name}, args...)...) //nolint:gosec,noctx // our own binary, ended by the world
}

// vanish cuts the network, so that no process in it can close a connection, and then kills all
// processes in it.
func (n *network) vanish(ctx context.Context) error {
	if _, err := ip(ctx, "-netns", n.name, "link", "set", n.guest(), "down"); err != nil {
		return err
	}
	return n.killAll(ctx)
}

func (n *network) killAll(ctx context.Context) error {
	return until(ctx, 10*time.Second, "the processes of the network to be gone", func(ctx context.Context) (bool, error) {
		pids, err := ip(ctx, "netns", "pids", n.name)
		if err != nil {
			return false, err
		}
		for pid := range strings.FieldsSeq(pids) {
			if p, err := strconv.Atoi(pid); err == nil {
				_ = syscall.Kill(p, syscall.SIGKILL) // it may be gone
			}
		}
		return strings.TrimSpace(pids) == "", nil
	})
}

// remove deletes the network as far as it exists.
func (n *network) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if list, err := ip(ctx, "netns", "list"); err != nil || !strings.Contains(list, n.name) {
		return nil // it was not created
	}
	err := n.killAll(ctx)
	_, _ = ip(ctx, "link", "delete", n.device) // it may not have been made; the other end goes with it
	_, gone := ip(ctx, "netns", "delete", n.name)
	return errors.Join(err, gone)
}

// ip runs the program of iproute2.
func ip(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "ip", args...) //nolint:gosec // our own arguments
	out, err := cmd.Output()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(e.Stderr))
	}
	return string(out), err
}
