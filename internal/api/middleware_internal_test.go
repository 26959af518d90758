package api

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// one is a listener of one connection.
type one struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (l one) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l one) Close() error { close(l.closed); return nil }
func (one) Addr() net.Addr { return &net.TCPAddr{} }

// A body that comes more slowly than bodyTimeout allows is answered with 408, and its connection ends.
func TestASlowBodyIsARequestTimeout(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ head, piece string }{
		"of a length": {"Content-Length: 60000\r\n\r\n", "x"},
		"in chunks":   {"Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"},
		"none at all": {"Content-Length: 1\r\n\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					readBody(humago.NewContext(&huma.Operation{}, r, w), func(huma.Context) { t.Error("the operation was called") })
				})}
				l := one{make(chan net.Conn), make(chan struct{})}
				served := make(chan error)
				go func() { served <- srv.Serve(l) }()
				ours, theirs := net.Pipe()
				l.conn <- theirs
				begun, sent := time.Now(), make(chan struct{})
				go func() {
					defer close(sent)
					_, err := io.WriteString(ours, "POST / HTTP/1.1\r\nHost: x\r\n"+c.head)
					for err == nil && time.Since(begun) < time.Hour {
						time.Sleep(time.Second)
						_, err = io.WriteString(ours, c.piece)
					}
				}()
				res, err := http.ReadResponse(bufio.NewReader(ours), nil)
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begun); took < bodyTimeout || took > bodyTimeout+2*time.Second {
					t.Errorf("answered after %s", took)
				}
				if res.StatusCode != http.StatusRequestTimeout || res.Header.Get("Content-Type") != problemMedia || !res.Close {
					t.Errorf("answered with %s, %v, closed: %t", res.Status, res.Header, res.Close)
				}
				if err := errors.Join(res.Body.Close(), ours.Close(), srv.Close()); err != nil {
					t.Error(err)
				}
				<-sent
				if err := <-served; !errors.Is(err, http.ErrServerClosed) {
					t.Error(err)
				}
				time.Sleep(time.Second) // net/http lets a refused connection linger for half of it
			})
		})
	}
}
