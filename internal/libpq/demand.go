package libpq

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrNoTLS says that sslmode demands TLS and the server does not speak it.
var ErrNoTLS = errors.New("the server does not speak TLS")

// demandsTLS reports whether a connection without TLS is out of the question.
func (s *Source) demandsTLS() bool {
	return slices.Contains([]string{"require", "verify-ca", "verify-full"}, s.settings["sslmode"])
}

// answer is a connection that remembers the first byte of the server. After a request for
// TLS it is S or N (PostgreSQL's protocol, "SSL Session Encryption"); pgx's error for N has
// no name.
type answer struct {
	net.Conn
	first atomic.Int32
}

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.Conn.Read(p)
	if n > 0 {
		a.first.CompareAndSwap(0, int32(p[0]))
	}
	return n, err //nolint:wrapcheck // a net.Conn's own
}

// observe makes c's connections remember, and returns whether the newest was answered no.
func observe(c *pgconn.Config) (refused func() bool) {
	var newest atomic.Pointer[answer]
	dial := c.DialFunc
	c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		a := &answer{Conn: conn}
		newest.Store(a)
		return a, nil
	}
	return func() bool {
		a := newest.Load()
		return a != nil && a.first.Load() == 'N'
	}
}
