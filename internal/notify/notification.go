package notify

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	strict "github.com/go-json-experiment/json"

	"github.com/pgcourier/pgcourier/events"
)

// Channel is a way to reach a recipient.
type Channel string

// The channels.
const (
	Email    Channel = "email"
	Webhook  Channel = "webhook"
	Telegram Channel = "telegram"
	Hook     Channel = "hook" // a chat or a heartbeat, in the form that its service expects
)

// Channels lists all of them.
func Channels() []Channel { return []Channel{Email, Webhook, Telegram, Hook} }

// Key names a notification for good: the same event, channel and recipient give the same
// key. It is lower-case letters, digits and "-", so it is one token of a subject, a
// Message-ID and a webhook-id alike.
type Key string

// keyOf derives a key. 128 bits of the digest tell all notifications apart.
func keyOf(subject string, c Channel, recipient string) Key {
	sum := sha256.Sum256([]byte(subject + "\x00" + string(c) + "\x00" + recipient))
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])
	return Key(string(c) + "-" + strings.ToLower(text))
}

// Notification is one thing to tell to one recipient over one channel.
type Notification struct {
	Key     Key     `json:"key"`
	Channel Channel `json:"channel"`
	// Recipient is a mail address, a chat's id, or a hook's name; the webhook's is WebhookRecipient.
	Recipient string `json:"recipient"`
	// Event is the event as it was published.
	Event Event `json:"event"`
	// Link is the address of a download link. It is made for a try and kept nowhere.
	Link string `json:"-"`
}

// WebhookRecipient stands for the operator's URL, which may hold a secret and may change.
const WebhookRecipient = "operator"

// Event is a message of the contract, byte for byte.
type Event struct {
	Subject string            `json:"subject"`
	Header  map[string]string `json:"header"`
	Body    []byte            `json:"body"`
}

// Decode decodes the event. The error is an *events.InvalidError.
func (e Event) Decode() (events.Event, error) {
	return events.DecodeEvent(events.Message{Subject: e.Subject, Header: e.Header, Body: e.Body})
}

// LinkIssued decodes the event of a download link; nil if it is another one.
func (e Event) LinkIssued() *events.LinkIssued {
	if !strings.HasPrefix(e.Subject, events.TypeLinkIssued+".") {
		return nil
	}
	of, err := e.Decode()
	if err != nil {
		return nil
	}
	return of.LinkIssued
}

// Name tells the event from all others: its subject, and for one of several on a subject its id.
func (e Event) Name() string {
	if l := e.LinkIssued(); l != nil {
		return e.Subject + "." + l.LinkID
	}
	return e.Subject
}

// State is the state of a notification.
type State string

// The states. Sent and Parked are final, but a parked one can be replayed.
const (
	Waiting State = "waiting"
	Sent    State = "sent"
	Parked  State = "parked"
)

// Record is what is kept about a notification.
type Record struct {
	Key       Key     `json:"key"`
	State     State   `json:"state"`
	Channel   Channel `json:"channel"`
	Recipient string  `json:"recipient"`
	ProjectID string  `json:"project_id"`
	RequestID string  `json:"request_id"`
	// Event is the event's name: its subject, and for a download link the link's id after it.
	Event string `json:"event"`
	// Tries that were made and failed, since the last replay.
	Tries int `json:"tries"`
	// Cause is why the last try failed, or why it was parked: one line, no secret.
	Cause     string    `json:"cause,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// NextTryAt is when a waiting one is tried again; zero: as soon as possible.
	NextTryAt time.Time `json:"next_try_at,omitzero"`
}

// newRecord returns the record of a notification that was not tried yet.
func newRecord(n Notification, project, request string, now time.Time) Record {
	return Record{
		Key: n.Key, State: Waiting, Channel: n.Channel, Recipient: n.Recipient,
		ProjectID: project, RequestID: request, Event: n.Event.Name(), CreatedAt: now, UpdatedAt: now,
	}
}

// Encode writes n for a queue.
func (n Notification) Encode() ([]byte, error) {
	b, err := json.Marshal(n)
	if err != nil {
		return nil, fmt.Errorf("encode notification %s: %w", n.Key, err)
	}
	return b, nil
}

// Decode reads what Encode wrote. It refuses a key that is not the notification's own, and
// JSON that two readers could read differently: names twice, invalid UTF-8.
func Decode(b []byte) (Notification, error) {
	var n Notification
	if err := strict.Unmarshal(b, &n); err != nil {
		return Notification{}, fmt.Errorf("decode notification: %w", err)
	}
	if n.Key != keyOf(n.Event.Name(), n.Channel, n.Recipient) {
		return Notification{}, errors.New("decode notification: its key is not its own")
	}
	return n, nil
}
