package brokertest

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// Aged returns the URL of a proxy before the broker at url that replaces the version in the
// broker's greeting. The end of the test closes the proxy and its connections.
func Aged(t testing.TB, url, version string) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	Must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(func() { cancel(); _ = l.Close() })
	is, shown := []byte(`"version":"`+server.VERSION+`"`), []byte(`"version":"`+version+`"`)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			upstream, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(url, "nats://"))
			if err != nil {
				_ = client.Close()
				continue
			}
			context.AfterFunc(ctx, func() { _, _ = client.Close(), upstream.Close() })
			go func() {
				_, _ = io.Copy(upstream, client)
				_ = upstream.Close()
			}()
			go func() {
				defer func() { _ = client.Close() }()
				part := make([]byte, 64<<10)
				for {
					n, err := upstream.Read(part)
					if err != nil {
						return
					}
					_, _ = client.Write(bytes.ReplaceAll(part[:n], is, shown))
				}
			}()
		}
	}()
	return "nats://" + l.Addr().String()
}
