package ledger_test

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy forwards connections to PostgreSQL and can lose a reply: the server has answered, and the
// client's connection is closed instead.
type proxy struct {
	net.Listener
	server string
	trips  atomic.Int32 // replies so far
	lose   atomic.Int32 // counts down to the reply that is lost; 0: none is
	wg     sync.WaitGroup
}

func newProxy(t *testing.T, port int) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, server: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(c) })
		}
	})
	// The pool closes its connections first: its clean-up was registered later.
	t.Cleanup(func() { _ = l.Close(); p.wg.Wait() })
	return p
}

// url is dsn through the proxy.
func (p *proxy) url(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = p.Addr().String()
	return u.String()
}

func (p *proxy) loseNextReply()    { p.loseReply(1) }
func (p *proxy) loseReply(n int32) { p.lose.Store(n) }

func (p *proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	p.wg.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	// ReadyForQuery, idle: the transaction is over and the reply complete.
	ready := []byte{'Z', 0, 0, 0, 5, 'I'}
	buf := make([]byte, 1<<16)
	var reply []byte
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		reply = append(reply, buf[:n]...)
		if bytes.HasSuffix(reply, ready) {
			p.trips.Add(1)
		}
		if p.lose.Load() == 1 && !bytes.HasSuffix(reply, ready) {
			continue // withhold it until it is whole
		}
		if bytes.HasSuffix(reply, ready) && p.lose.Load() > 0 && p.lose.Add(-1) == 0 {
			return
		}
		if _, err := client.Write(reply); err != nil {
			return
		}
		reply = reply[:0]
	}
}
