// Package webhook posts events to a URL in the form of Standard Webhooks
// (https://www.standardwebhooks.com). The body is the event, signed with a shared secret. A
// repetition has the same id.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/notify/post"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// Config describes a Sender.
type Config struct {
	// URL is an http or https address. The operator chooses it, so private addresses are allowed. It
	// may contain a token and is never shown. Required.
	URL secret.String
	// Secrets are the signing keys, each "whsec_" and then 24 to 64 bytes in base64 as the standard
	// says. Each key makes a signature, so a receiver can change from one key to the next. Required.
	Secrets []secret.String
	// Envelope sends the standard's own body, {"type", "timestamp", "data"}, so that the signature
	// covers the type and the time. Default: the body is the event.
	Envelope bool
	// Transport makes the connections. Default: a transport of the sender.
	Transport http.RoundTripper
	// Now is the clock of timestamps. Default: time.Now.
	Now func() time.Time
}

// Sender posts notifications. It is safe for concurrent use.
type Sender struct {
	url  string
	keys [][]byte
	wrap bool
	http *post.Client
	now  func() time.Time
}

var _ notify.Sender = (*Sender)(nil)

const (
	secretPrefix         = "whsec_"
	minSecret, maxSecret = 24, 64 // bytes, by the standard
	headerID             = "Webhook-Id"
	headerTimestamp      = "Webhook-Timestamp"
	headerSignature      = "Webhook-Signature"
	cloudEventsHeaders   = "ce-"
)

// New returns a sender. The error names no secret. The caller calls Close.
func New(c Config) (*Sender, error) {
	u, err := url.Parse(c.URL.Reveal())
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("configure webhook: the URL is not an http or https address")
	}
	if len(c.Secrets) == 0 {
		return nil, errors.New("configure webhook: a secret is required")
	}
	s := &Sender{url: u.String(), wrap: c.Envelope, now: c.Now}
	for _, one := range c.Secrets {
		key, err := parseSecret(one)
		if err != nil {
			return nil, fmt.Errorf("configure webhook: %w", err)
		}
		s.keys = append(s.keys, key)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.http = post.New("the webhook", c.Transport, s.now)
	return s, nil
}

func parseSecret(s secret.String) ([]byte, error) {
	text, ok := strings.CutPrefix(s.Reveal(), secretPrefix)
	if !ok {
		return nil, errors.New("a secret does not begin with " + secretPrefix)
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("a secret is not " + secretPrefix + " and base64")
	}
	if len(key) < minSecret || len(key) > maxSecret {
		return nil, fmt.Errorf("a secret has %d bytes, not %d to %d", len(key), minSecret, maxSecret)
	}
	return key, nil
}

// Close releases idle connections.
func (s *Sender) Close() error {
	s.http.Close()
	return nil
}

// Send posts the event. Any 2xx is a success, whatever the body is. Permanent errors are a
// redirect, which is not followed, and each 4xx except 408, 425 and 429. All other errors are
// transient; a Retry-After is returned as a *notify.DelayError.
func (s *Sender) Send(ctx context.Context, n notify.Notification) error {
	body, err := s.body(n)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("post to the webhook: the URL cannot be requested")
	}
	for name, value := range n.Event.Header {
		switch folded := strings.ToLower(name); {
		case strings.HasPrefix(folded, cloudEventsHeaders), folded == events.HeaderTraceparent, folded == events.HeaderTracestate:
			req.Header.Set(name, value)
		}
	}
	now := s.now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "pgcourier")
	req.Header.Set(headerID, string(n.Key))
	req.Header.Set(headerTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(headerSignature, s.sign(string(n.Key), now, body))
	return s.http.Send(req)
}

// body returns the body of the request. It is the same at each attempt.
func (s *Sender) body(n notify.Notification) ([]byte, error) {
	e, data := n.Event, content(n)
	if !s.wrap {
		return data, nil
	}
	header := map[string]string{}
	for name, value := range e.Header {
		header[strings.ToLower(name)] = value
	}
	b, err := json.Marshal(struct {
		Type      string          `json:"type"`
		Timestamp string          `json:"timestamp,omitempty"`
		Data      json.RawMessage `json:"data"`
	}{header[events.HeaderType], header[events.HeaderTime], data})
	if err != nil {
		return nil, &notify.PermanentError{Reason: "the event is no JSON", Err: err}
	}
	return b, nil
}

// content returns the event as it was published. The event of a download link also gets its URL as
// "url".
func content(n notify.Notification) []byte {
	if n.Link == "" {
		return n.Event.Body
	}
	address, err := json.Marshal(n.Link)
	rest, ok := bytes.CutPrefix(n.Event.Body, []byte("{"))
	if err != nil || !ok { // an event is an object, and an address a string
		return n.Event.Body
	}
	return slices.Concat([]byte(`{"url":`), address, []byte(","), rest)
}

// sign returns one signature for each key, in the standard's list form.
func (s *Sender) sign(id string, at time.Time, body []byte) string {
	var all []string
	for _, key := range s.keys {
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%d.", id, at.Unix())
		mac.Write(body)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(all, " ")
}
