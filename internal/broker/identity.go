package broker

import (
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// StreamIdentity tells a stream from another of the same name: its name and the time of its
// creation.
func StreamIdentity(info *jetstream.StreamInfo) string {
	return info.Config.Name + "@" + info.Created.UTC().Format(time.RFC3339Nano)
}

// EventID names a message for good: it is derived from the identity of its stream and its
// sequence, so that a publisher cannot choose it. It needs no secret: 64 bits of the digest
// keep two streams of one name apart.
func EventID(stream string, sequence uint64) string {
	sum := sha256.Sum256([]byte(stream))
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:8])
	return "e" + strings.ToLower(text) + "-" + strconv.FormatUint(sequence, 10)
}
