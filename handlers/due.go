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

// Queue shows the requests that wait or run.
type Queue interface {
	// OfProject lists what is in a project's queue, delivered or not.
	OfProject(ctx context.Context, project string) ([]export.QueuedRequest, error)
}

// Due handles what a schedule made due: it puts the request on its project's subject.
//
// While the schedule's run before this one is still in the queue, waiting or running, it
// waits; the broker keeps only the newest run that waits here, so however often a schedule
// comes due during a long export, one run follows.
//
// A broker that crashed can make the same run due again: it notes the times of its schedules only
// now and then. The time at which it says that the next run is due does not change. So the
// request's id is derived from that time, and a repetition is the same request.
type Due struct {
	Publisher Publisher
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
			waits, err := h.waits(ctx, r)
			if err != nil {
				return err
			}
			if waits {
				log.DebugContext(ctx, "a scheduled run waits for the one before it", "request_id", id)
				return delivery.Retry(0)
			}
			if err := h.Publisher.Publish(ctx, m.Subject, id, outgoing(m)); err != nil {
				return err
			}
			log.InfoContext(ctx, "a scheduled run is due", "request_id", id)
			return nil
		}
	}
	// The worker refuses it: only the worker records and announces refusals.
	log.WarnContext(ctx, "a scheduled run breaks the contract", "error", err)
	return h.Publisher.Publish(ctx, events.RequestSubject(project), d.EventID, asItCame(msg, in))
}

// waits reports whether another run of the same schedule is in the queue.
func (h *Due) waits(ctx context.Context, r events.Requested) (bool, error) {
	queued, err := h.Queue.OfProject(ctx, r.ProjectID)
	if err != nil {
		return false, fmt.Errorf("look for the run before %s: %w", r.RequestID, err)
	}
	for _, other := range queued {
		// This one itself is there when its acknowledgement was lost.
		if q := other.Request; q.Refusal == nil && q.RequestedBy == r.RequestedBy && q.Request != r.RequestID {
			return true, nil
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
