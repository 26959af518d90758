package events

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrQueueFull says that the project has as many waiting requests as it may have.
	// Nothing was queued; ask again later.
	ErrQueueFull = errors.New("the project's queue is full")
	// ErrUnavailable says that the broker gave no answer, or cannot serve: no
	// connection, no stream, a timeout. A request may have been queued nevertheless;
	// asking again with the same request id is safe.
	ErrUnavailable = errors.New("the broker is unavailable")
)

// clientSource is the ce-source of requests that a Client publishes. The requester
// is named by Requested.RequestedBy.
const clientSource = "pgcourier/client"

// codeStoreFailed is JetStream's answer when a limit with discard-new refuses a message
// (nats-server errors.json: JSStreamStoreFailedF). nats.go has no name for it.
const codeStoreFailed jetstream.ErrorCode = 10077

// Client asks for exports and follows them. It is safe for concurrent use. It holds no
// resources of its own: the connection stays the caller's.
type Client struct {
	nc *nats.Conn
	js jetstream.JetStream
}

// NewClient returns a client over a connection, which stays the caller's to close. It
// does not contact the broker.
//
// With restricted users, RequestBackup needs the right to publish to the projects'
// subjects (RequestSubject) and to subscribe to its own inbox. Await also needs to
// subscribe to OutcomeFilter and to publish to $JS.API.STREAM.INFO.BACKUP_OUTCOMES and
// $JS.API.STREAM.MSG.GET.BACKUP_OUTCOMES (or $JS.API.DIRECT.GET.BACKUP_OUTCOMES, when
// the stream allows direct gets); Watch needs the same for BACKUP_EVENTS as well.
func NewClient(nc *nats.Conn) (*Client, error) {
	if nc == nil {
		return nil, errors.New("new client: no connection")
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("new client: %w", err)
	}
	return NewClientOver(js), nil
}

// NewClientOver is NewClient for streams in another JetStream domain or behind another API
// prefix: js is made with jetstream.NewWithDomain or NewWithAPIPrefix.
func NewClientOver(js jetstream.JetStream) *Client { return &Client{nc: js.Conn(), js: js} }

// NewRequestID returns a fresh request id that sorts by time and is read easily in lists
// and file names, such as "20260314t092653-k3j9x7q2m4w5z6ab": the UTC second, then 80
// random bits.
func NewRequestID(now time.Time) string {
	const randomChars = 16 // of rand.Text's base32, five bits each
	return now.UTC().Format("20060102t150405") + "-" + strings.ToLower(rand.Text()[:randomChars])
}

// RequestBackup queues r and returns its request id, which is r's own or a fresh one.
// It waits until the broker has stored the request, at most until ctx ends, or five
// seconds if ctx has no deadline.
//
// The error is an *InvalidError if r breaks the contract (nothing was published), or
// wraps ErrQueueFull or ErrUnavailable. The id is returned also with the latter two:
// asking again with it is safe, for the same request is stored once within the broker's
// deduplication window and answered with the same outcome after it.
func (c *Client) RequestBackup(ctx context.Context, r Requested) (requestID string, err error) {
	if r.RequestID == "" {
		r.RequestID = NewRequestID(time.Now())
	}
	m, err := r.Encode(clientSource)
	if err != nil {
		return "", err
	}
	_, err = c.js.PublishMsg(ctx, natsMsg(m),
		jetstream.WithMsgID(dedupID(r.ProjectID, r.RequestID, m.Body)),
		jetstream.WithExpectStream(StreamRequests))
	if err != nil {
		return r.RequestID, fmt.Errorf("queue request %s/%s: %w", r.ProjectID, r.RequestID, classify(err))
	}
	return r.RequestID, nil
}

// dedupID is a request's Nats-Msg-Id. It holds a digest of the content, so that the broker
// drops a repeat, but not another request under a used id: the workers must get that one and
// answer it as a conflict.
func dedupID(project, request string, body []byte) string {
	sum := sha256.Sum256(body)
	return project + "." + request + "." + hex.EncodeToString(sum[:8])
}

// classify wraps a broker's error in an error of this package.
func classify(err error) error {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == codeStoreFailed {
		return fmt.Errorf("%w: %w", ErrQueueFull, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func natsMsg(m Message) *nats.Msg {
	out := nats.NewMsg(m.Subject)
	for name, value := range m.Header {
		out.Header.Set(name, value)
	}
	out.Data = m.Body
	return out
}

// fromNATS is the inverse of natsMsg, with repeated headers joined as Message asks.
func fromNATS(subject string, header nats.Header, body []byte) Message {
	m := Message{Subject: subject, Header: make(map[string]string, len(header)), Body: body}
	for name, values := range header {
		m.Header[name] = strings.Join(values, ", ")
	}
	return m
}
