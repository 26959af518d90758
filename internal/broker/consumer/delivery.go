package consumer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/internal/broker"
)

// maxUUID is the longest UUID taken over from a header: the contract's bound for an id.
const maxUUID = 100

// Delivery is what the broker knows of one delivery of a message.
type Delivery struct {
	// EventID names the message for good: derived from the stream's identity and the
	// sequence, so it is the same at each redelivery and nobody can choose it. Lower-case
	// letters, digits and "-", at most 35 characters.
	EventID string
	// Number counts the deliveries of this message, 1 for the first.
	Number int
	// Last says that no further delivery follows this one.
	Last bool
	// Stream is the identity of the stream: its name and time of creation. A stream that
	// was deleted and made again is another one, and counts from 1 again.
	Stream string
	// Sequence is the message's number in that stream.
	Sequence uint64
	// Subject is the message's full subject.
	Subject string
	// Published is when the broker stored the message, by the broker's clock.
	Published time.Time
	// RepeatedHeader names a header that came more than once, letter case aside; empty if
	// none did. The message's metadata holds the first value of each.
	RepeatedHeader string
}

// DeliveryOf returns the delivery behind a message of a Subscriber. It is false for any
// other message, also for a copy that lost its context.
func DeliveryOf(msg *message.Message) (Delivery, bool) {
	o := offerOf(msg)
	if o == nil {
		return Delivery{}, false
	}
	return o.held.delivery, true
}

// Abandon tells the Subscriber to settle nothing when the handler returns, whatever it
// returns: no ack, no nak, only an end of the heartbeats. It is for the attempt that was
// superseded: the message now belongs to another worker, whose delivery an ack or nak
// would act on. It returns false for a message that is not a Subscriber's.
func Abandon(msg *message.Message) bool {
	o := offerOf(msg)
	if o != nil {
		o.abandoned.Store(true)
	}
	return o != nil
}

// Delay sets how long the broker waits before it delivers the message again, if the handler
// returns an error, in place of the Subscriber's Backoff. It returns false for a message
// that is not a Subscriber's.
func Delay(msg *message.Message, pause time.Duration) bool {
	o := offerOf(msg)
	if o != nil {
		o.delay.Store(int64(max(pause, 1)))
	}
	return o != nil
}

// Defer tells the Subscriber that it is not the message's turn yet: when the handler returns
// nil, the message is not settled. It is held and kept alive, and the same delivery is
// offered again, as a new message.Message, after the pause at the earliest; until then none
// of its key is. That costs no delivery. When the handler returns an error it changes
// nothing. It returns false for a message that is not a Subscriber's.
func Defer(msg *message.Message, pause time.Duration) bool {
	o := offerOf(msg)
	if o != nil {
		o.deferred.Store(int64(max(pause, 1)))
	}
	return o != nil
}

type offerKey struct{}

func offerOf(msg *message.Message) *offer {
	o, _ := msg.Context().Value(offerKey{}).(*offer)
	return o
}

func deliveryOf(m *nats.Msg, b bound) (Delivery, error) {
	meta, err := m.Metadata()
	if err != nil {
		return Delivery{}, fmt.Errorf("read delivery of a message on %s: %w", b.Stream, err)
	}
	number := int(min(meta.NumDelivered, 1<<31-1)) // #nosec G115 -- bounded in this line
	return Delivery{
		EventID:        broker.EventID(b.identity, meta.Sequence.Stream),
		Number:         number,
		Last:           b.maxDeliver > 0 && number >= b.maxDeliver,
		Stream:         b.identity,
		Sequence:       meta.Sequence.Stream,
		Subject:        m.Subject,
		Published:      meta.Timestamp,
		RepeatedHeader: repeated(m.Header),
	}, nil
}

// repeated compares without letter case: "ce-id" and "CE-ID" are one attribute to some
// readers and two to others, which is exactly the doubt a repeated header raises.
func repeated(h nats.Header) string {
	seen := make(map[string]bool, len(h))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		folded := strings.ToLower(name)
		if len(h[name]) > 1 || seen[folded] {
			return name
		}
		seen[folded] = true
	}
	return ""
}

// toMessage builds the Watermill message. A UUID from outside is taken over only when it
// is an id by the contract's alphabet: it ends up in logs.
func toMessage(m *nats.Msg, d Delivery) *message.Message {
	uuid := m.Header.Get(broker.UUIDHeader)
	if !plainID(uuid) {
		uuid = d.EventID
	}
	msg := message.NewMessage(uuid, m.Data)
	for name, values := range m.Header {
		if name != broker.UUIDHeader && len(values) > 0 {
			msg.Metadata.Set(name, values[0])
		}
	}
	return msg
}

func plainID(s string) bool {
	if s == "" || len(s) > maxUUID {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
