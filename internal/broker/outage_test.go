package broker_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/internal/broker"
)

// When heartbeats fail for longer than AckWait the message is another worker's: a nak
// would start a third delivery, an ack of a durable outcome is still right.
func TestLostDelivery(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ack  bool
		want string
	}{
		"nack sends nothing": {false, ""},
		"ack is sent":        {true, "+ACK"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			p := newProxy(t, shared.ClientURL())
			nc := connect(t, p.url())
			s, ch := b.subscribe(b.config(stream(t, nc)))
			b.publish(1)
			msg := receive(t, ch)
			p.cut()
			_, other := b.subscribe(b.config(b.js))
			again := receive(t, other)
			if d := deliveryOf(t, again); d.Number != 2 || d.EventID != deliveryOf(t, msg).EventID {
				t.Errorf("second worker got %+v", d)
			}
			if err := msg.Context().Err(); err != nil {
				t.Error("the handler's context ended:", err)
			}
			p.mend()
			eventually(t, "the first worker is back", nc.IsConnected)
			if c.ack {
				msg.Ack()
			} else {
				msg.Nack()
			}
			must(t, s.Close())
			b.acks.total()
			// The connection's revival is a nak with AckWait as its delay.
			if n := b.acks.count("-NAK") - b.acks.count(revival); n != 0 {
				t.Errorf("sent %d naks", n)
			}
			if n := b.acks.count("+ACK"); (n == 1) != (c.want == "+ACK") {
				t.Errorf("sent %d acks", n)
			}
			again.Ack()
		})
	}
}

const revival = `-NAK {"delay": 600000000}` // ackWait

// An outage of the broker, longer than AckWait, delivers nothing twice that is still held,
// although a free slot asks for messages as soon as it can.
func TestBrokerRestartRedeliversNothingHeld(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := start(t, dir, broker.RandomPort)
	port := portOf(t, srv.ClientURL())
	b := setupOn(t, srv.ClientURL())
	c := b.config(b.js)
	c.Slots = 3
	s, ch := b.subscribe(c)
	b.publish(1)
	msg := receive(t, ch)

	must(t, srv.Shutdown())
	outage := time.NewTimer(2 * ackWait) // the fault itself is a length of time
	defer outage.Stop()
	<-outage.C
	start(t, dir, port)

	b.acks.await(heartbeat, heartbeatsOf(3))
	eventually(t, "the free slots pull", func() bool { return b.info().NumWaiting == 2 })
	if err := msg.Context().Err(); err != nil {
		t.Error("the handler's context ended:", err)
	}
	msg.Ack()
	must(t, s.Close())
	if n := b.info().Delivered.Consumer; n != 1 {
		t.Errorf("%d deliveries, want 1", n)
	}
	if n := b.stored(); n != 0 {
		t.Errorf("%d messages left", n)
	}
}

// An ack that is given while the broker is away is sent when it is back.
func TestAckOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := start(t, dir, broker.RandomPort)
	port := portOf(t, srv.ClientURL())
	b := setupOn(t, srv.ClientURL())
	s, ch := b.subscribe(b.config(b.js))
	b.publish(1)
	msg := receive(t, ch)
	must(t, srv.Shutdown())
	eventually(t, "connection is lost", func() bool { return !b.nc.IsConnected() })
	msg.Ack()
	ended(t, msg.Context().Done(), "context")
	start(t, dir, port)
	eventually(t, "connection is back", b.nc.IsConnected)
	eventually(t, "message is settled", func() bool { return b.stored() == 0 })
	must(t, s.Close())
	if n := b.info().Delivered.Consumer; n != 1 {
		t.Errorf("%d deliveries, want 1", n)
	}
}

func TestNothingIsBufferedWhileDisconnected(t *testing.T) {
	t.Parallel()
	srv := start(t, t.TempDir(), broker.RandomPort)
	nc := connect(t, srv.ClientURL())
	must(t, srv.Shutdown())
	eventually(t, "connection is lost", func() bool { return nc.Status() == nats.RECONNECTING })
	if err := nc.Publish("x", nil); err == nil {
		t.Error("a publish was kept for later")
	}
}

func start(t *testing.T, dir string, port int) *broker.Server {
	t.Helper()
	srv, err := broker.StartServer(broker.ServerConfig{DataDir: dir, Port: port, Logger: quiet()})
	must(t, err)
	t.Cleanup(func() { must(t, srv.Shutdown()) })
	return srv
}

// proxy is a TCP proxy whose cable can be pulled.
type proxy struct {
	t      *testing.T
	target string
	l      net.Listener
	all    sync.WaitGroup

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]struct{}
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{t: t, target: strings.TrimPrefix(target, "nats://"), l: l, conns: map[net.Conn]struct{}{}}
	p.all.Go(p.accept)
	t.Cleanup(func() { _ = l.Close(); p.cut(); p.all.Wait() })
	return p
}

func (p *proxy) url() string { return "nats://" + p.l.Addr().String() }

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

func (p *proxy) accept() {
	for {
		client, err := p.l.Accept()
		if err != nil {
			return
		}
		p.all.Go(func() { p.serve(client) })
	}
}

func (p *proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	var d net.Dialer
	server, err := d.DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	p.mu.Lock()
	if p.down {
		p.mu.Unlock()
		return
	}
	p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].Close()
		})
	}
	both.Wait()
}
