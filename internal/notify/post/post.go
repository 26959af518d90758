// Package post sends HTTP requests to an address from the configuration, for the channels that
// post. No error contains the address, because the address may contain a token.
package post

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/pgcourier/pgcourier/internal/notify"
)

// ErrProxied says that a proxy of the environment serves the address, so that Check cannot connect
// to it.
var ErrProxied = errors.New("it is reached through a proxy")

const (
	answerLimit            = 64 << 10 // bytes read of a body, so that the connection can be reused
	headerLimit            = 64 << 10 // bytes of a response's headers
	defaultIdleConnections = 90 * time.Second
)

// Client sends requests. It is safe for concurrent use. The caller calls Close.
type Client struct {
	what string // the receiver, for errors
	http *http.Client
	own  *http.Transport // nil when the caller gave the transport
	now  func() time.Time
}

// New returns a client. what names the receiver in errors. A nil transport means a transport of the
// client.
func New(what string, transport http.RoundTripper, now func() time.Time) *Client {
	c := &Client{what: what, now: now}
	if transport == nil {
		c.own = &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 15 * time.Second, IdleConnTimeout: defaultIdleConnections,
			MaxResponseHeaderBytes: headerLimit, ForceAttemptHTTP2: true,
		}
		transport = c.own
	}
	c.http = &http.Client{
		Transport: transport,
		// The body must reach only the configured address.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// Close releases idle connections.
func (c *Client) Close() {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

// Send makes one try. Any 2xx is a success. Permanent errors are a redirect, which is not followed, and
// each 4xx except 408, 425 and 429. All other errors are transient; a Retry-After is returned as a
// *notify.DelayError.
func (c *Client) Send(req *http.Request) error {
	resp, err := c.http.Do(req) //nolint:gosec // the operator configures the URL
	if err != nil {
		// net/http's error repeats the URL, which may hold a token.
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return fmt.Errorf("post to %s: %w", c.what, err)
	}
	// Reading a short body to its end makes the connection reusable.
	_, _ = io.CopyN(io.Discard, resp.Body, answerLimit)
	_ = resp.Body.Close()
	return c.verdict(resp)
}

// Check connects to the server of an address, with TLS for https, and sends nothing. It returns the
// server's certificate, nil without TLS, or ErrProxied.
func (c *Client) Check(ctx context.Context, address string) (*x509.Certificate, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, nil)
	if err != nil {
		return nil, errors.New("connect to " + c.what + ": the URL cannot be requested")
	}
	if proxy, err := http.ProxyFromEnvironment(req); err != nil || proxy != nil {
		return nil, ErrProxied
	}
	u := req.URL
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.what, err)
	}
	defer func() { _ = conn.Close() }()
	if u.Scheme != "https" {
		return nil, nil //nolint:nilnil // no TLS, no certificate
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t, ok := c.http.Transport.(*http.Transport); ok && t.TLSClientConfig != nil {
		config = t.TLSClientConfig.Clone()
	}
	config.ServerName = host
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.what, err)
	}
	return secure.ConnectionState().PeerCertificates[0], nil
}

func (c *Client) verdict(resp *http.Response) error {
	code := resp.StatusCode
	if code/100 == 2 {
		return nil
	}
	err := fmt.Errorf("%s answered %d %s", c.what, code, cmp.Or(http.StatusText(code), "(unknown)"))
	switch {
	case code == http.StatusGone:
		return &notify.PermanentError{Reason: c.what + " is gone", Err: err}
	case code/100 == 3:
		return &notify.PermanentError{Reason: c.what + " redirects, and no redirect is followed: set the address it points to", Err: err}
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= http.StatusInternalServerError, code < http.StatusOK:
		if after := retryAfter(resp.Header.Get("Retry-After"), c.now()); after > 0 {
			return &notify.DelayError{After: after, Err: err}
		}
		return err
	}
	return &notify.PermanentError{Reason: c.what + " refuses the event", Err: err}
}

// retryAfter reads seconds or a date; 0 for anything else.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}
