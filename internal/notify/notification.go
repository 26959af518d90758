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
	Hook     Channel = "hook" // a chat or a heartbeat of another service
)

// Channels returns all channels.
func Channels() []Channel { return []Channel{Email, Webhook, Telegram, Hook} }

// Key identifies a notification. The same event, channel and recipient have the same key. It
// consists of lower-case letters, digits and "-", so it is valid as one token of a subject, as a
// Message-ID and as a webhook-id.
type Key string

// keyOf derives a key from 128 bits of the digest.
func keyOf(subject string, c Channel, recipient string) Key {
	sum := sha256.Sum256([]byte(subject + "\x00" + string(c) + "\x00" + recipient))
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])
	return Key(string(c) + "-" + strings.ToLower(text))
}

// Notification is one event for one recipient over one channel.
type Notification struct {
	Key     Key     `json:"key"`
	Channel Channel `json:"channel"`
	// Recipient is a mail address, the id of a chat, or the name of a hook. For the webhook it is
	// WebhookRecipient.
	Recipient string `json:"recipient"`
	// Event is the event as it was published.
	Event Event `json:"event"`
	// Link is the URL of a download link. It is made for each attempt and is never stored.
	Link string `json:"-"`
}

// WebhookRecipient stands for the URL of the webhook, which may contain a secret and may change.
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

// LinkIssued decodes the event of a download link. It returns nil for another event.
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

// Name identifies the event: its subject and, if several events share a subject, its id.
func (e Event) Name() string {
	if l := e.LinkIssued(); l != nil {
		return e.Subject + "." + l.LinkID
	}
	return e.Subject
}

// State is the state of a notification.
type State string

// The states. Sent and Parked are final, except that a parked notification can be replayed.
const (
	Waiting State = "waiting"
	Sent    State = "sent"
	Parked  State = "parked"
)

// Record is the stored state of a notification.
type Record struct {
	Key       Key     `json:"key"`
	State     State   `json:"state"`
	Channel   Channel `json:"channel"`
	Recipient string  `json:"recipient"`
	ProjectID string  `json:"project_id"`
	RequestID string  `json:"request_id"`
	// Event is the name of the event: its subject and, for a download link, the id of the link.
	Event string `json:"event"`
	// Tries counts the failed attempts since the last replay.
	Tries int `json:"tries"`
	// Cause is the error of the last attempt, or the reason for parking: one line, no secret.
	Cause     string    `json:"cause,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// NextTryAt is the time of the next attempt of a waiting notification. Zero: as soon as possible.
	NextTryAt time.Time `json:"next_try_at,omitzero"`
}

// newRecord returns the record of a notification before its first attempt.
func newRecord(n Notification, project, request string, now time.Time) Record {
	return Record{
		Key: n.Key, State: Waiting, Channel: n.Channel, Recipient: n.Recipient,
		ProjectID: project, RequestID: request, Event: n.Event.Name(), CreatedAt: now, UpdatedAt: now,
	}
}

// Encode returns n for a queue.
func (n Notification) Encode() ([]byte, error) {
	b, err := json.Marshal(n)
	if err != nil {
		return nil, fmt.Errorf("encode notification %s: %w", n.Key, err)
	}
	return b, nil
}

// Decode parses the result of Encode. It refuses a key that does not match the notification. It
// also refuses JSON that two parsers could read differently: repeated names, invalid UTF-8.
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
