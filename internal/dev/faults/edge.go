package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
)

// edges makes proxies between processes.
type edges struct{ server *toxiproxy.ApiServer }

func newEdges() *edges {
	toxics.Register(breaking, new(breakAt))
	return &edges{toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
}

// edge is one proxy between two processes.
type edge struct{ proxy *toxiproxy.Proxy }

func (e *edges) open(name string, port int) (*edge, error) { return e.openAt(name, loopback, port) }

const loopback = "127.0.0.1"

// openAt makes a proxy that listens on another address of this machine.
func (e *edges) openAt(name, host string, port int) (*edge, error) {
	p := toxiproxy.NewProxy(e.server, name, net.JoinHostPort(host, "0"), fmt.Sprintf("127.0.0.1:%d", port))
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("open edge %s: %w", name, err)
	}
	return &edge{p}, nil
}

func (e *edge) port() string {
	_, port, _ := net.SplitHostPort(e.proxy.Listen)
	return port
}

// address returns host:port.
func (e *edge) address() string { return e.proxy.Listen }

// cut closes all connections and refuses new ones until join.
func (e *edge) cut() { e.proxy.Stop() }

func (e *edge) join() error { return e.proxy.Start() }

// reset breaks all connections and accepts new ones at once.
func (e *edge) reset() error {
	e.cut()
	return e.join()
}

// poison adds a toxic. Attributes are JSON.
func (e *edge) poison(name, kind, stream, attributes string) error {
	_, err := e.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(
		`{"name":%q,"type":%q,"stream":%q,"attributes":%s}`, name, kind, stream, attributes)))
	return err
}

func (e *edge) cure(ctx context.Context, name string) error {
	return e.proxy.Toxics.RemoveToxic(ctx, name)
}

const muted = "muted"

// dropReplies passes requests on and drops every reply, while the connection seems to work.
func (e *edge) dropReplies() error { return e.poison(muted, "timeout", "downstream", `{"timeout":0}`) }

// passReplies breaks the connections with lost replies, and accepts new ones.
func (e *edge) passReplies(ctx context.Context) error {
	e.cut()
	if err := e.cure(ctx, muted); err != nil {
		return err
	}
	return e.join()
}

// breaking is a toxic that breaks a connection when the server sends one of some texts, before the
// client receives it.
const breaking = "breaking"

type breakAt struct {
	At []string `json:"at"`
}

// The replies of servers that have carried out a request.
const (
	// PostgreSQL's command tags, after a transaction and after a single statement.
	committed = `{"at":["COMMIT\u0000","UPDATE 1\u0000"]}`
	// nats-server's empty reply to an ack (and to a heartbeat).
	acknowledged = `{"at":[" 0\r\n\r\n"]}`
)

func (e *edge) breakOn(texts string) error { return e.poison(breaking, breaking, "downstream", texts) }

// fix removes the toxic and accepts new connections.
func (e *edge) fix(ctx context.Context) error {
	e.cut()
	if err := e.cure(ctx, breaking); err != nil {
		return err
	}
	return e.join()
}

// Pipe implements toxics.Toxic.
func (b *breakAt) Pipe(stub *toxics.ToxicStub) {
	for {
		select {
		case <-stub.Interrupt:
			return
		case c := <-stub.Input:
			if c == nil || slices.ContainsFunc(b.At, func(text string) bool { return bytes.Contains(c.Data, []byte(text)) }) {
				stub.Close()
				return
			}
			stub.Output <- c
		}
	}
}

// slow limits both directions to kilobytes a second for each connection.
func (e *edge) slow(rate int) error {
	for _, stream := range []string{"upstream", "downstream"} {
		if err := e.poison("slow-"+stream, "bandwidth", stream, fmt.Sprintf(`{"rate":%d}`, rate)); err != nil {
			return err
		}
	}
	return nil
}

func (e *edge) fast(ctx context.Context) error {
	for _, stream := range []string{"upstream", "downstream"} {
		if err := e.cure(ctx, "slow-"+stream); err != nil {
			return err
		}
	}
	return nil
}
