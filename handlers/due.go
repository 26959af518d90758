package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"log/slog"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/internal/delivery"
	"github.com/pgcourier/pgcourier/internal/export"
)

// DuePublisher publishes the requests of schedules.
type DuePublisher interface {
	// Publish stores a message as Publisher.Publish does.
	Publish(ctx context.Context, subject, key string, msg *message.Message) error
	// PublishAfter is Publish if last is still the sequence of the newest message on the subject; 0:
	// there is none. Otherwise it returns false and no error.
	PublishAfter(ctx context.Context, subject, key string, last uint64, msg *message.Message) (stored bool, err error)
}

// Queue returns the waiting and running requests.
type Queue interface {
	// OfProject returns the messages in a project's queue, delivered or not, in the order of their
	// sequences.
	OfProject(ctx context.Context, project string) ([]export.QueuedRequest, error)
}

// Due handles a due message of a schedule: it publishes the request on its project's subject.
//
// It waits while the schedule's previous run is still in the queue, waiting or running. The broker
// keeps only the newest due message of a schedule, so one run follows a long export, however often
// the schedule became due. Several due messages of one schedule can be handled at the same time,
// also by different processes. So the request is stored only if nothing was added to the project's
// queue since it was read.
//
// A broker that crashed can make the same run due again, because it saves the times of its
// schedules only at intervals. The time of the next run in the due message does not change. The
// request's id is derived from that time, so a repetition is the same request.
type Due struct {
	Publisher DuePublisher
	Queue     Queue
	// Source is the CloudEvents source of the published requests.
	Source string
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Handle is a Watermill NoPublishHandlerFunc. It returns an error for transient failures: the
// broker's refusals and outages.
func (h *Due) Handle(msg *message.Message) error {
	ctx, log := msg.Context(), h.Log
	if log == nil {
		log = slog.Default()
	}
	d := delivery.Of(ctx)
	project, name, ok := events.SplitSchedule(d.Subject)
	if !ok {
		log.WarnContext(ctx, "dropped what is due for no valid project and schedule", "subject", d.Subject)
		return nil
	}
	log = log.With("project_id", project, "schedule", name)
	in := incoming(msg)
	// The schedule's subject decides the project of the request.
	in.Subject = events.RequestSubject(project)
	r, err := events.Decode(in)
	id := dueID(d.Subject, name, msg)
	if err == nil {
		r.RequestID, r.RequestedBy = id, events.RequestedBySchedule(name)
		var m events.Message
		if m, err = r.Encode(h.Source); err == nil {
			queued, err := h.enqueue(ctx, r, m)
			if err != nil {
				return err
			}
			if !queued {
				log.DebugContext(ctx, "a scheduled run waits for the one before it", "request_id", id)
				return delivery.Retry(0)
			}
			log.InfoContext(ctx, "a scheduled run is due", "request_id", id)
			return nil
		}
	}
	// The worker refuses it: only the worker records and announces refusals.
	log.WarnContext(ctx, "a scheduled run breaks the contract", "error", err)
	return h.Publisher.Publish(ctx, events.RequestSubject(project), d.EventID, asItCame(msg, in))
}

// looks bounds how often enqueue reads the queue of a project that changes in between.
const looks = 3

// enqueue stores the request unless another run of the same schedule is in the queue. It returns
// false if the request must wait: for that run, or because the queue changed after each look.
func (h *Due) enqueue(ctx context.Context, r events.Requested, m events.Message) (bool, error) {
	for range looks {
		queued, err := h.Queue.OfProject(ctx, r.ProjectID)
		if err != nil {
			return false, fmt.Errorf("look for the run before %s: %w", r.RequestID, err)
		}
		var last uint64
		for _, other := range queued {
			// After a lost acknowledgement, this run itself is in the queue.
			if q := other.Request; q.Refusal == nil && q.RequestedBy == r.RequestedBy && q.Request != r.RequestID {
				return false, nil
			}
			last = other.Delivery.Sequence
		}
		if stored, err := h.Publisher.PublishAfter(ctx, m.Subject, r.RequestID, last, outgoing(m)); stored || err != nil {
			return stored, err
		}
	}
	return false, nil
}

// dueID returns the id of a run. It depends on the schedule, its last write, and the time of the
// next run. A one-time schedule ("@at") has no next run, and only one run.
func dueID(subject, name string, msg *message.Message) string {
	sum := sha256.Sum256([]byte(subject + "\n" + msg.Metadata.Get(events.HeaderScheduleEdit) + "\n" + msg.Metadata.Get(events.HeaderNextDue)))
	return name + "-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:10]))
}
