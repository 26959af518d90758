package broker

import (
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// StreamIdentity returns the name of a stream and the time of its creation, which distinguish it
// from another stream of the same name.
func StreamIdentity(info *jetstream.StreamInfo) string {
	return info.Config.Name + "@" + info.Created.UTC().Format(time.RFC3339Nano)
}

// EventID returns a permanent id of a message. It is derived from the identity of the stream and
// the sequence, so a publisher cannot choose it. It needs no secret: 64 bits of the digest
// distinguish two streams of one name.
func EventID(stream string, sequence uint64) string {
	sum := sha256.Sum256([]byte(stream))
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:8])
	return "e" + strings.ToLower(text) + "-" + strconv.FormatUint(sequence, 10)
}
