package service

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener of connections within the process, which follow the clock of a synctest
// bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// attack serves with the API's limits and gives a connection to each client. The handler reads
// bodies to their end.
func attack(t *testing.T, client func(t *testing.T, dial func() net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{make(chan net.Conn), make(chan struct{})}
		srv := apiServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				http.Error(w, "cut", http.StatusRequestTimeout)
			}
		}), slog.New(slog.DiscardHandler))
		served := make(chan error)
		go func() { served <- srv.Serve(p) }()
		client(t, func() net.Conn {
			ours, theirs := net.Pipe()
			p.conns <- theirs
			return ours
		})
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		time.Sleep(time.Second) // net/http keeps a refused connection open for half of it
	})
}

// drip writes head and then piece each second until the server closes the connection, and returns
// the time and the server's answer.
func drip(t *testing.T, conn net.Conn, head, piece string) (time.Duration, string) {
	t.Helper()
	begun := time.Now()
	said := make(chan string)
	go func() {
		b, _ := io.ReadAll(conn) // the cut is an error, or none
		said <- string(b)
	}()
	_, err := io.WriteString(conn, head)
	for err == nil && time.Since(begun) < time.Hour {
		time.Sleep(time.Second)
		_, err = io.WriteString(conn, piece)
	}
	took := time.Since(begun)
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	return took, <-said
}

func TestSlowCallsAreCut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		head, piece string
		within      time.Duration
	}{
		"a slow request line":  {"G", "E", apiHeaderTimeout},
		"slow headers":         {"GET / HTTP/1.1\r\nHost: x\r\n", "A: b\r\n", apiHeaderTimeout},
		"one slow header":      {"GET / HTTP/1.1\r\nHost: x\r\nA: ", "b", apiHeaderTimeout},
		"a slow body":          {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n", "x", apiReadTimeout},
		"a slow chunked body":  {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", apiReadTimeout},
		"one slow chunk":       {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n", "x", apiReadTimeout},
		"nothing after a call": {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "", apiIdleTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			attack(t, func(t *testing.T, dial func() net.Conn) {
				took, said := drip(t, dial(), c.head, c.piece)
				if took > c.within+2*time.Second || took < c.within-2*time.Second {
					t.Errorf("cut after %s, want %s; the server said %q", took, c.within, said)
				}
				if strings.Contains(said, "200 OK") && c.within != apiIdleTimeout {
					t.Errorf("the server said %q", said)
				}
			})
		})
	}
}

func TestHeaderBombsAreRefused(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&many, "A%d: b\r\n", i)
	}
	for name, header := range map[string]string{
		"one large value":   "A: " + strings.Repeat("b", 100_000) + "\r\n",
		"one large name":    strings.Repeat("a", 100_000) + ": b\r\n",
		"many":              many.String(),
		"many of one name":  strings.Repeat("A: b\r\n", 20_000),
		"many folded lines": "A: b\r\n" + strings.Repeat(" c\r\n", 20_000),
		"a large cookie":    "Cookie: " + strings.Repeat("a=b;", 20_000) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			attack(t, func(t *testing.T, dial func() net.Conn) {
				conn := dial()
				written := make(chan int)
				go func() {
					n, _ := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n"+header+"\r\n") // the server does not read all
					written <- n
				}()
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge || !res.Close {
					t.Errorf("answered with %s, closed: %t", res.Status, res.Close)
				}
				if err := errors.Join(res.Body.Close(), conn.Close()); err != nil {
					t.Error(err)
				}
				if n := <-written; n > 2*apiHeaderBytes {
					t.Errorf("%d bytes were read", n)
				}
			})
		})
	}
}
