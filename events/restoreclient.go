package events

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrNoRestores says that the broker has no stream for restores: no restorer was ever set up.
	ErrNoRestores = errors.New("restores by event are not set up at this broker")
	// ErrQueueChanged says that the last message in the project's queue of restores is another one than the
	// caller expects. Nothing was queued.
	ErrQueueChanged = errors.New("the project's queue of restores has changed")
)

// RequestRestore queues r and returns its restore id, which is r's own or a fresh one. Waiting, errors
// and repetition are as for RequestBackup. ErrNoRestores.
//
// With restricted users it needs the right to publish to RestoreSubject and to subscribe to its own
// inbox.
func (c *Client) RequestRestore(ctx context.Context, r RestoreRequested) (restoreID string, err error) {
	return c.requestRestore(ctx, r)
}

// RequestRestoreAfter is RequestRestore for a caller that has read the project's queue of restores, to publish
// only if the queue holds no restore with the same id and other contents. last is the sequence of the queue's
// last message; 0: the queue is empty. ErrQueueChanged: another request has entered or left the queue since.
func (c *Client) RequestRestoreAfter(ctx context.Context, r RestoreRequested, last uint64) (restoreID string, err error) {
	return c.requestRestore(ctx, r, jetstream.WithExpectLastSequencePerSubject(last))
}

func (c *Client) requestRestore(ctx context.Context, r RestoreRequested, expected ...jetstream.PublishOpt) (restoreID string, err error) {
	if r.RestoreID == "" {
		r.RestoreID = NewRequestID(time.Now())
	}
	m, err := r.Encode(clientSource)
	if err != nil {
		return "", err
	}
	_, err = c.js.PublishMsg(ctx, natsMsg(m), append(expected,
		jetstream.WithMsgID(dedupID(r.ProjectID, r.RestoreID, m.Body)),
		jetstream.WithExpectStream(StreamRestores))...)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && len(expected) > 0 &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return r.RestoreID, fmt.Errorf("queue restore %s/%s: %w", r.ProjectID, r.RestoreID, ErrQueueChanged)
	}
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		return r.RestoreID, fmt.Errorf("queue restore %s/%s: %w", r.ProjectID, r.RestoreID, ErrNoRestores)
	}
	if err != nil {
		return r.RestoreID, fmt.Errorf("queue restore %s/%s: %w", r.ProjectID, r.RestoreID, classify(err))
	}
	return r.RestoreID, nil
}

// WatchRestore is Watch for restores. With a project and a restore id it yields what is stored of the
// restore, then what comes, until its outcome, a RestoreCompleted or a RestoreFailed. Either may be
// empty, which means all: then only live events are yielded, until ctx ends. Leaving the loop ends it.
// An error is yielded once, last, of the kinds that Await returns. With restricted users it needs the
// rights of Watch, for the streams of restores.
func (c *Client) WatchRestore(ctx context.Context, project, restoreID string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if err := checkIDs(project, restoreID); err != nil {
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
