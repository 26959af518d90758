package brokertest

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// Proxy is a TCP proxy that can cut its connections and delay the answers.
type Proxy struct {
	t      *testing.T
	target string
	l      net.Listener
	all    sync.WaitGroup

	mu    sync.Mutex
	down  bool
	gate  sync.RWMutex // held while the way back is held up
	conns map[net.Conn]struct{}
}

// NewProxy returns a proxy to a broker. It ends with the test.
func NewProxy(t *testing.T, target string) *Proxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	Must(t, err)
	p := &Proxy{t: t, target: strings.TrimPrefix(target, "nats://"), l: l, conns: map[net.Conn]struct{}{}}
	p.all.Go(p.accept)
	t.Cleanup(func() { _ = l.Close(); p.Cut(); p.all.Wait() })
	return p
}

// URL returns the URL of the proxy.
func (p *Proxy) URL() string { return "nats://" + p.l.Addr().String() }

// Cut closes all connections and accepts no new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for c := range p.conns {
		_ = c.Close()
	}
}

// Restore undoes Cut.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// Hold delays the broker's answers until the returned function is called.
func (p *Proxy) Hold() (release func()) {
	p.gate.Lock()
	return p.gate.Unlock
}

// gated is a writer that waits while the answers are delayed.
type gated struct {
	io.Writer
	gate *sync.RWMutex
}

func (g gated) Write(b []byte) (int, error) {
	g.gate.RLock()
	defer g.gate.RUnlock()
	return g.Writer.Write(b)
}

func (p *Proxy) accept() {
	for {
		client, err := p.l.Accept()
		if err != nil {
			return
		}
		p.all.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
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
