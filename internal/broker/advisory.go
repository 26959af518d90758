package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go/jetstream"
)

// advisories reads the broker's advisories and collects the messages of a queue that used up their
// deliveries. It reads each advisory once.
type advisories struct {
	name string // of the stream that stores them; empty: none

	mu      sync.Mutex
	life    string // identity of the queue's stream
	source  string // identity of the advisories' stream
	next    uint64 // first advisory not read yet
	advised map[uint64]struct{}
}

// above returns the sequences above bound that an advisory names, in ascending order.
func (a *advisories) above(ctx context.Context, js jetstream.JetStream, queue *jetstream.StreamInfo, consumer string, bound uint64) ([]uint64, error) {
	if a.name == "" {
		return nil, nil
	}
	s, err := js.Stream(ctx, a.name)
	if err != nil {
		return nil, fmt.Errorf("look up advisories %s: %w", a.name, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	life, source := StreamIdentity(queue), StreamIdentity(s.CachedInfo())
	if a.life != life || a.source != source {
		a.life, a.source, a.next, a.advised = life, source, 1, map[uint64]struct{}{}
	}
	for last := s.CachedInfo().State.LastSeq; a.next <= last; {
		m, err := s.GetMsg(ctx, a.next, jetstream.WithGetMsgSubject(anySubject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read advisories %s at %d: %w", a.name, a.next, err)
		}
		a.next = m.Sequence + 1
		// An advisory of an earlier stream of the same name is about other messages.
		if sequence := usedUp(m.Data, queue.Config.Name, consumer); sequence > 0 && m.Time.After(queue.Created) {
			a.advised[sequence] = struct{}{}
		}
	}
	maps.DeleteFunc(a.advised, func(sequence uint64, _ struct{}) bool { return sequence <= bound })
	return slices.Sorted(maps.Keys(a.advised)), nil
}

// forget drops a message that no longer exists.
func (a *advisories) forget(sequence uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.advised, sequence)
}

// usedUp returns the sequence that an advisory names. It returns 0 for an advisory of another kind
// or about another queue. It skips an advisory that it cannot parse.
func usedUp(body []byte, stream, consumer string) uint64 {
	var advisory struct {
		Type     string `json:"type"`
		Stream   string `json:"stream"`
		Consumer string `json:"consumer"`
		Sequence uint64 `json:"stream_seq"`
	}
	if json.Unmarshal(body, &advisory) != nil || advisory.Type != "io.nats.jetstream.advisory.v1.max_deliver" ||
		advisory.Stream != stream || advisory.Consumer != consumer {
		return 0
	}
	return advisory.Sequence
}
