package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/internal/pgcluster/freeport"
)

// broker is one nats-server, or a cluster of three. Each node is its own process.
type broker struct {
	dir, binary    string
	nodes          []*node
	workerPassword string
	keys           string // folder of the broker's users' keys; empty: two users with passwords
	user           string // of the harness's connection, with keys

	nc *nats.Conn // the harness's own, without a proxy
	js jetstream.JetStream
}

type node struct {
	name                           string
	port, clusterPort, monitorPort int
	process                        *process
	starts                         int
	folder                         string // of its store; empty: one in the broker's folder
}

// startBroker starts size nodes and waits until they answer. With keys, the servers have the users
// of these keys, from the file users.conf in dir.
func startBroker(ctx context.Context, dir, binary string, size int, keys string) (*broker, error) {
	b := &broker{dir: dir, binary: binary, workerPassword: "first", keys: keys, user: "admin"}
	for n := range size {
		ports, err := freePorts(3)
		if err != nil {
			return nil, err
		}
		b.nodes = append(b.nodes, &node{name: fmt.Sprintf("n%d", n+1), port: ports[0], clusterPort: ports[1], monitorPort: ports[2]})
	}
	for _, n := range b.nodes {
		if err := b.start(ctx, n); err != nil {
			b.stop()
			return nil, err
		}
	}
	if err := b.connect(ctx); err != nil {
		b.stop()
		return nil, err
	}
	return b, nil
}

func (b *broker) config(n *node) string { return filepath.Join(b.dir, n.name+".conf") }
func (b *broker) store(n *node) string  { return cmp.Or(n.folder, filepath.Join(b.dir, n.name)) }

func (b *broker) configure(n *node) error {
	conf := fmt.Sprintf(`server_name: %s
listen: "127.0.0.1:%d"
jetstream { store_dir: %q, sync_interval: always }
`, n.name, n.port, b.store(n))
	if b.keys != "" {
		conf += fmt.Sprintf("http: \"127.0.0.1:%d\"\ninclude %s\n", n.monitorPort, usersFile)
	} else {
		conf += fmt.Sprintf("authorization { users: [ {user: worker, password: %q}, {user: harness, password: harness} ] }\n", b.workerPassword)
	}
	if len(b.nodes) > 1 {
		// Only the later of two nodes connects, also after a restart of the other. If both connect, each
		// treats the other's routes as duplicates and closes them, for up to half a minute. A node
		// without any route would not start; it ignores a route to itself.
		var routes []string
		for _, other := range b.nodes[:slices.Index(b.nodes, n)+1] {
			routes = append(routes, fmt.Sprintf("nats-route://127.0.0.1:%d", other.clusterPort))
		}
		// Without no_advertise, clients would learn addresses that avoid their proxies.
		conf += fmt.Sprintf("cluster { name: faults, listen: \"127.0.0.1:%d\", no_advertise: true, routes: [ %s ] }\n",
			n.clusterPort, strings.Join(routes, ", "))
	}
	return os.WriteFile(b.config(n), []byte(conf), 0o600)
}

// start starts a node. In a cluster it waits until other nodes can join it.
func (b *broker) start(ctx context.Context, n *node) error {
	if err := b.configure(n); err != nil {
		return err
	}
	n.starts++
	cmd := exec.Command(b.binary, b.config(n)) //nolint:gosec,noctx // our own binary, ended by stop
	var err error
	n.process, err = startProcess(b.dir, fmt.Sprintf("%s-%d", n.name, n.starts), cmd)
	if err == nil && len(b.nodes) > 1 {
		err = n.listening(ctx)
	}
	return err
}

// listening waits until other nodes can join.
func (n *node) listening(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	return until(ctx, 30*time.Second, "node "+n.name+" to listen", func(ctx context.Context) (bool, error) {
		select {
		case <-n.process.exited:
			err := fmt.Errorf("it ended: %w", n.process.err)
			cancel(err)
			return false, err
		default:
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", n.clusterPort))
		if err != nil {
			return false, err
		}
		return true, conn.Close()
	})
}

// addresses returns the URLs of the nodes, with these credentials before the host.
func (b *broker) addresses(credentials string) string {
	var urls []string
	for _, n := range b.nodes {
		urls = append(urls, fmt.Sprintf("nats://%s127.0.0.1:%d", credentials, n.port))
	}
	return strings.Join(urls, ",")
}

// login connects as one of the broker's users or, without keys, as the harness. The caller closes
// the connection.
func (b *broker) login(user string) (*nats.Conn, error) {
	options := []nats.Option{
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(0, 0), nats.IgnoreAuthErrorAbort(), nats.PingInterval(time.Second), nats.Name("faults"),
	}
	if b.keys == "" {
		return nats.Connect(b.addresses("harness:harness@"), options...)
	}
	key, err := nats.NkeyOptionFromSeed(filepath.Join(b.keys, user+".nk"))
	if err != nil {
		return nil, err
	}
	return nats.Connect(b.addresses(""), append(options, key, nats.CustomInboxPrefix("_INBOX_"+user))...)
}

// connect waits until JetStream answers.
func (b *broker) connect(ctx context.Context) error {
	var err error
	if b.nc, err = b.login(b.user); err != nil {
		return err
	}
	if b.js, err = jetstream.New(b.nc); err != nil {
		return err
	}
	return until(ctx, time.Minute, "the broker to answer", func(ctx context.Context) (bool, error) {
		_, err := b.js.AccountInfo(ctx)
		return err == nil, err
	})
}

func (b *broker) stop() {
	if b.nc != nil {
		b.nc.Close()
	}
	for _, n := range b.nodes {
		if n.process != nil {
			_ = n.process.signal(syscall.SIGCONT) // it may be stopped
			n.process.kill()
		}
	}
}

// reload makes the servers read their configuration again.
func (b *broker) reload() error {
	for _, n := range b.nodes {
		if err := b.configure(n); err != nil {
			return err
		}
		if err := n.process.signal(syscall.SIGHUP); err != nil {
			return err
		}
	}
	return nil
}

// leader returns the node that leads a stream.
func (b *broker) leader(ctx context.Context, stream string) (*node, error) {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	if c := s.CachedInfo().Cluster; c != nil {
		for _, n := range b.nodes {
			if n.name == c.Leader {
				return n, nil
			}
		}
	}
	return nil, fmt.Errorf("stream %s has no leader", stream)
}

// freePorts returns n different free ports.
func freePorts(n int) ([]int, error) {
	var ports []int
	for len(ports) < n {
		port, err := freeport.Get()
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports, nil
}

// until calls ask repeatedly until it returns true, at most for timeout. Errors are expected during
// an outage; the last one is returned at the timeout.
func until(ctx context.Context, timeout time.Duration, what string, ask func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		one, end := context.WithTimeout(ctx, 5*time.Second)
		ok, err := ask(one)
		end()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("waited %s for %s: %w", timeout, what, err)
		case <-tick.C:
		}
	}
}
