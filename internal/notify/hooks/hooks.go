// Package hooks posts events to the chats of services (Slack, Discord, Microsoft Teams, ntfy), each
// in the format of its service, and calls heartbeat URLs when exports complete or fail.
package hooks

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/notify/post"
	"github.com/pgcourier/pgcourier/internal/secret"
)

// hook is one address. The address may hold a token and is never shown.
type hook struct {
	service
	url    string
	fail   string // URL that a heartbeat calls for failures
	header http.Header
	client *post.Client
}

// Sender posts to the hooks. It is safe for concurrent use.
type Sender struct{ hooks map[string]hook }

var _ notify.Sender = (*Sender)(nil)

// New parses a comma-separated list of addresses KIND+https://... After a # an address can have
// options in the form of a query: "header" (Name: value; repeatable) and, for a heartbeat, "fail",
// the URL for failures. The error names no address. The caller calls Close.
func New(addresses secret.String) (*Sender, error) {
	s := &Sender{hooks: map[string]hook{}}
	all := strings.Split(addresses.Reveal(), ",")
	for i, raw := range all {
		name, h, err := read(strings.TrimSpace(raw))
		if err != nil {
			return nil, fmt.Errorf("hook %d of %d: %w", i+1, len(all), err)
		}
		h.client = post.New("the hook "+name, nil, time.Now)
		s.hooks[name] = h
	}
	return s, nil
}

// read parses one address. The name of the hook contains its kind and does not depend on its
// position in the list.
func read(raw string) (string, hook, error) {
	kind, rest, _ := strings.Cut(raw, "+")
	of, known := services[kind]
	if !known {
		return "", hook{}, fmt.Errorf("an address begins with one of %s, and a +", strings.Join(slices.Sorted(maps.Keys(services)), ", "))
	}
	address, fragment, _ := strings.Cut(rest, "#")
	h := hook{service: of, url: address, header: http.Header{}}
	if !isAddress(address) {
		return "", h, errors.New("it is not an http or https address behind the +")
	}
	options, err := url.ParseQuery(fragment)
	if err != nil {
		return "", h, errors.New("the options behind the # are not a query")
	}
	for option, values := range options {
		switch {
		case option == "fail" && of.heartbeat && len(values) == 1 && isAddress(values[0]):
			h.fail = values[0]
		case option == "header":
			for _, v := range values {
				name, value, ok := strings.Cut(v, ":")
				if !ok || strings.ContainsAny(v, "\r\n") {
					return "", h, errors.New("a header is not of the form Name: value")
				}
				h.header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
			}
		default:
			return "", h, errors.New("options are header, and for a heartbeat fail, an http or https address")
		}
	}
	sum := sha256.Sum256([]byte(rest))
	return kind + "-" + hex.EncodeToString(sum[:4]), h, nil
}

func isAddress(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http")
}

// Names returns the names of all hooks, sorted. Chats returns the chats only. Alive and Dead return
// the heartbeats for completed and for failed exports.
func (s *Sender) Names() []string { return s.names(func(hook) bool { return true }) }

// Chats is described at Names.
func (s *Sender) Chats() []string { return s.names(func(h hook) bool { return !h.heartbeat }) }

// Alive is described at Names.
func (s *Sender) Alive() []string { return s.names(func(h hook) bool { return h.heartbeat }) }

// Dead is described at Names.
func (s *Sender) Dead() []string { return s.names(func(h hook) bool { return h.fail != "" }) }

func (s *Sender) names(of func(hook) bool) []string {
	out := []string{}
	for _, name := range slices.Sorted(maps.Keys(s.hooks)) {
		if of(s.hooks[name]) {
			out = append(out, name)
		}
	}
	return out
}

// Close releases idle connections.
func (s *Sender) Close() error {
	for _, h := range s.hooks {
		h.client.Close()
	}
	return nil
}

// Check connects to the server of a hook and sends nothing. See post.Client.
func (s *Sender) Check(ctx context.Context, name string) (*x509.Certificate, error) {
	return s.hooks[name].client.Check(ctx, s.hooks[name].url)
}

// SendTest posts a test message to a chat.
func (s *Sender) SendTest(ctx context.Context, name string) error {
	return s.hooks[name].send(ctx, notify.Summary{Completed: true, Headline: "This is a test by pgcourier doctor."})
}

// Send makes one attempt.
func (s *Sender) Send(ctx context.Context, n notify.Notification) error {
	h, ok := s.hooks[n.Recipient]
	if !ok {
		return &notify.PermanentError{Reason: "this hook is not set up any more"}
	}
	of, err := n.Event.Decode()
	if err != nil {
		return &notify.PermanentError{Reason: "the event cannot be read", Err: err}
	}
	return h.send(ctx, notify.Summarize(of))
}

func (h hook) send(ctx context.Context, of notify.Summary) error {
	address := h.url
	if h.heartbeat && !of.Completed {
		address = h.fail
	}
	address = strings.NewReplacer("{project}", url.PathEscape(of.Project), "{request}", url.PathEscape(of.Request)).Replace(address)
	m := message{Headline: of.Headline, Failed: !of.Completed}
	body := ""
	if h.body != nil {
		m.Text = of.Text(h.limit, h.size)
		text, err := fill(h.body, m)
		if err != nil {
			return err
		}
		body = text
	}
	req, err := http.NewRequestWithContext(ctx, h.method, address, strings.NewReader(body))
	if err != nil {
		return errors.New("post to a hook: the URL cannot be requested")
	}
	req.Header = h.header.Clone()
	req.Header.Set("User-Agent", "pgcourier")
	if h.contentType != "" {
		req.Header.Set("Content-Type", h.contentType)
	}
	for name, value := range h.service.header {
		text, err := fill(value, m)
		if err != nil {
			return err
		}
		req.Header.Set(name, text)
	}
	return h.client.Send(req)
}

func fill(t *template.Template, m message) (string, error) {
	var b strings.Builder
	if err := t.Execute(&b, m); err != nil {
		return "", fmt.Errorf("fill a hook's template: %w", err)
	}
	return b.String(), nil
}
