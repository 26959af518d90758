package consumer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"

	"github.com/pgcourier/pgcourier/internal/broker"
	"github.com/pgcourier/pgcourier/internal/delivery"
)

// maxUUID is the largest length of a UUID from a header, the same as for an id of the contract.
const maxUUID = 100

type offerKey struct{}

func offerOf(msg *message.Message) *offer {
	o, _ := msg.Context().Value(offerKey{}).(*offer)
	return o
}

func deliveryOf(m *nats.Msg, b bound) (delivery.Delivery, error) {
	meta, err := m.Metadata()
	if err != nil {
		return delivery.Delivery{}, fmt.Errorf("read delivery of a message on %s: %w", b.Stream, err)
	}
	number := int(min(meta.NumDelivered, 1<<31-1)) // #nosec G115 -- bounded in this line
	return delivery.Delivery{
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

// repeated returns the name of a repeated header. It ignores case, because some readers treat
// "ce-id" and "CE-ID" as one attribute and others as two.
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

// toMessage builds the Watermill message. It uses a UUID from the header only if that is an id by
// the contract's alphabet, because the UUID is logged.
func toMessage(m *nats.Msg, d delivery.Delivery) *message.Message {
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
