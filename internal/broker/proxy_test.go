package broker_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// proxy is a TCP proxy whose cable can be pulled, and whose way back can be held up.
type proxy struct {
	t      *testing.T
	target string
	l      net.Listener
	all    sync.WaitGroup

	mu    sync.Mutex
	down  bool
	gate  sync.RWMutex // held by whoever holds up the way back
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

// hold keeps what the broker sends from arriving until the returned function is called.
func (p *proxy) hold() (release func()) {
	p.gate.Lock()
	return p.gate.Unlock
}

// gated writes when nobody holds the way up.
type gated struct {
	io.Writer
	gate *sync.RWMutex
}

func (g gated) Write(b []byte) (int, error) {
	g.gate.RLock()
	defer g.gate.RUnlock()
	return g.Writer.Write(b)
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
	both.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	both.Go(func() {
		_, _ = io.Copy(gated{client, &p.gate}, server)
		_ = client.Close()
	})
	both.Wait()
}
