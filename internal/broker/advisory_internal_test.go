package broker

import (
	"encoding/json"
	"testing"
)

// An advisory is a hint of a message to look at. It names a message only if it has the right kind
// and consumer, also for a lenient parser.
func FuzzUsedUp(f *testing.F) {
	const good = `{"type":"io.nats.jetstream.advisory.v1.max_deliver","id":"x","stream":"Q","consumer":"w","stream_seq":7,"deliveries":3}`
	if got := usedUp([]byte(good), "Q", "w"); got != 7 {
		f.Fatalf("a good one names %d", got)
	}
	for _, s := range []string{good, `{"type":"io.nats.jetstream.advisory.v1.terminated","stream":"Q","consumer":"w","stream_seq":7}`, `{"stream_seq":-1}`, `{"stream_seq":1e30}`, "null", "[]", good + good} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got := usedUp(body, "Q", "w")
		if got == 0 {
			return
		}
		var lenient struct {
			Type     string
			Stream   string
			Consumer string
			Sequence uint64 `json:"stream_seq"`
		}
		if err := json.Unmarshal(body, &lenient); err != nil || lenient.Sequence == 0 || lenient.Stream == "" || lenient.Consumer == "" {
			t.Fatalf("%s names %d: %+v, %v", body, got, lenient, err)
		}
		if usedUp(body, "other", "w") != 0 || usedUp(body, "Q", "other") != 0 {
			t.Fatalf("%s is about every queue", body)
		}
	})
}
