package events

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrNoRestores says that the broker has no stream for restores: no restorer was ever set up.
var ErrNoRestores = errors.New("restores by event are not set up at this broker")

// RequestRestore queues r and returns its restore id, which is r's own or a fresh one. Waiting, errors
// and repetition are as for RequestBackup. ErrNoRestores.
//
// With restricted users it needs the right to publish to RestoreSubject and to subscribe to its own
// inbox.
func (c *Client) RequestRestore(ctx context.Context, r RestoreRequested) (restoreID string, err error) {
	if r.RestoreID == "" {
		r.RestoreID = NewRequestID(time.Now())
	}
	m, err := r.Encode(clientSource)
	if err != nil {
		return "", err
	}
	_, err = c.js.PublishMsg(ctx, natsMsg(m),
		jetstream.WithMsgID(dedupID(r.ProjectID, r.RestoreID, m.Body)),
		jetstream.WithExpectStream(StreamRestores))
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		return r.RestoreID, fmt.Errorf("queue restore %s/%s: %w", r.ProjectID, r.RestoreID, ErrNoRestores)
	}
	if err != nil {
		return r.RestoreID, fmt.Errorf("queue restore %s/%s: %w", r.ProjectID, r.RestoreID, classify(err))
	}
	return r.RestoreID, nil
}

// WatchRestore yields what happens to one restore: what is stored of it, then what comes, until its
// outcome, a RestoreCompleted or a RestoreFailed. Leaving the loop ends it. An error is yielded once,
// last, of the kinds that Await returns. With restricted users it needs the rights of Watch, for the
// streams of restores.
func (c *Client) WatchRestore(ctx context.Context, project, restoreID string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		err := checkIDs(project, restoreID)
		if err == nil && (project == "" || restoreID == "") {
			err = invalid("restore_id", "and project_id are both needed")
		}
		if err != nil {
			yield(Event{}, err)
			return
		}
		f := &follower{client: c, of: followedRestores, project: project, request: restoreID}
		for e, err := range f.run(ctx) {
			if err != nil {
				err = fmt.Errorf("watch restore %s/%s: %w", project, restoreID, err)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}
