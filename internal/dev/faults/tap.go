package main

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// tap counts the messages within the streams' account by kind. It subscribes as the administrator
// and gets an additional copy of every message, so it is not used when times are measured.
type tap struct {
	mu    sync.Mutex
	kinds map[string]count
	sub   *nats.Subscription
}

type count struct {
	Messages int `json:"messages"`
	Bytes    int `json:"bytes"` // subjects, headers and bodies
}

func (b *broker) tap() (*tap, error) {
	t := &tap{kinds: map[string]count{}}
	var err error
	if t.sub, err = b.nc.Subscribe(">", t.take); err != nil {
		return nil, err
	}
	return t, b.nc.Flush()
}

func (t *tap) take(m *nats.Msg) {
	kind := kindOf(m)
	if kind == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.kinds[kind]
	c.Messages++
	c.Bytes += m.Size()
	t.kinds[kind] = c
}

// end stops counting and returns the counts.
func (t *tap) end() (map[string]count, error) {
	if err := t.sub.Unsubscribe(); err != nil {
		return nil, fmt.Errorf("end the count of messages: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kinds, nil
}

var eventKind = regexp.MustCompile(`^backup\.[a-z_]+`)

// kindOf returns the kind of a message without the parts that identify one request or reply. Empty:
// the message exists only because the harness subscribes or asks.
func kindOf(m *nats.Msg) string {
	switch s := m.Subject; {
	case strings.HasPrefix(s, "_INBOX_admin."), strings.HasPrefix(m.Reply, "_INBOX_admin."),
		strings.HasPrefix(s, "$JS.EVENT.ADVISORY.API"):
		return "" // advisories of API calls are made for listeners only
	case strings.HasPrefix(m.Reply, "$JS.ACK."): // it keeps the subject of the request
		return "delivery of a request"
	case strings.HasPrefix(s, "$JS.ACK."):
		switch body := string(m.Data); {
		case strings.HasPrefix(body, "+WPI"):
			return "heartbeat"
		case strings.HasPrefix(body, "-NAK"):
			return "nak"
		}
		return "ack"
	case strings.HasPrefix(s, "$JS.API.CONSUMER.MSG.NEXT."):
		return "pull"
	case strings.HasPrefix(s, "$JS.API."):
		return "question about a stream or consumer"
	case strings.HasPrefix(s, "$JS.EVENT."):
		return "advisory of a consumer"
	case strings.HasPrefix(s, "_INBOX_worker."):
		if m.Header.Get("Status") != "" {
			return "end of a pull"
		}
		return "reply to a worker"
	case strings.HasPrefix(s, "_"):
		return "reply to the gateway"
	default:
		return cmp.Or(eventKind.FindString(s), s)
	}
}
