package broker

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/nats-io/nats.go/jetstream"
)

// Messages yields at most limit messages under filter, a subject that may have wildcards, oldest
// first: delivered or not, dead or not. Each costs one request to the broker, so Messages suits the
// queue of one project only. An error is yielded once, last.
func (q *Queue) Messages(ctx context.Context, filter string, limit int) iter.Seq2[QueuedMessage, error] {
	return func(yield func(QueuedMessage, error) bool) {
		s, err := q.js.Stream(ctx, q.binding.Stream)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return
		}
		if err != nil {
			yield(QueuedMessage{}, fmt.Errorf("look up queue %s: %w", q.binding.Stream, err))
			return
		}
		next := s.CachedInfo().State.FirstSeq
		for range limit {
			m, err := q.read(ctx, s, max(next, 1), jetstream.WithGetMsgSubject(filter))
			if err != nil {
				yield(QueuedMessage{}, err)
				return
			}
			if m == nil || !yield(*m, nil) {
				return
			}
			next = m.Sequence + 1
		}
	}
}
