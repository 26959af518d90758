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
	// PublishAfter is Publish if the newest message on the subject is still the one with sequence last;
	// 0: there is none. Else it returns false and no error.
	PublishAfter(ctx context.Context, subject, key string, last uint64, msg *message.Message) (stored bool, err error)
}

// Queue shows the requests that wait or run.
type Queue interface {
	// OfProject lists what is in a project's queue, delivered or not, in the order of their sequences.
	OfProject(ctx context.Context, project string) ([]export.QueuedRequest, error)
}

// Due handles what a schedule made due: it puts the request on its project's subject.
//
// While the schedule's run before this one is still in the queue, waiting or running, it
// waits; the broker keeps only the newest run that waits here, so however often a schedule
// comes due during a long export, one run follows. Several due messages of one schedule can be handled
// at the same time, also by different processes. So the request is stored only if nothing was added to
// the project's queue since the look into it.
//
// A broker that crashed can make the same run due again: it notes the times of its schedules only
// now and then. The time at which it says that the next run is due does not change. So the
// request's id is derived from that time, and a repetition is the same request.
type Due struct {
	Publisher DuePublisher
	Queue     Queue
	// Source is the CloudEvents source of what is passed on.
	Source string
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Handle is a Watermill NoPublishHandlerFunc. It returns an error for what passes by
// itself: the broker's refusals and outages.
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
	// It is judged as a request for the project that the schedule's subject names.
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

// looks bounds how often enqueue looks into the queue of a project that changes meanwhile.
const looks = 3

// enqueue stores the request unless another run of the same schedule is in the queue. It returns false
// if the request must wait: for that run, or because the queue changed after each look.
func (h *Due) enqueue(ctx context.Context, r events.Requested, m events.Message) (bool, error) {
	for range looks {
		queued, err := h.Queue.OfProject(ctx, r.ProjectID)
		if err != nil {
			return false, fmt.Errorf("look for the run before %s: %w", r.RequestID, err)
		}
		var last uint64
		for _, other := range queued {
			// This one itself is there when its acknowledgement was lost.
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

// dueID names a run: by its schedule, the writing of it, and when the one after is due. A
// one-time schedule ("@at") has no next one, and one run.
func dueID(subject, name string, msg *message.Message) string {
	sum := sha256.Sum256([]byte(subject + "\n" + msg.Metadata.Get(events.HeaderScheduleEdit) + "\n" + msg.Metadata.Get(events.HeaderNextDue)))
	return name + "-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:10]))
}
