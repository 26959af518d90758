package broker

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/nats-io/nats.go/jetstream"
)

// Messages yields what lies in the stream under filter (a subject, perhaps with wildcards),
// oldest first and at most limit: delivered or not, dead or not. Each costs a question to
// the broker, so this is for a look into the queue of one project, not for reading. An
// error is yielded once, last.
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
