package service

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/handlers"
	"github.com/pgcourier/pgcourier/internal/export"
)

// announcements reads the outcomes that the broker keeps.
type announcements struct{ js jetstream.JetStream }

var _ export.Announcements = announcements{}

// Completed implements export.Announcements. It asks first whether there is such an outcome, for which a
// worker had the right in earlier versions too.
func (a announcements) Completed(ctx context.Context, id export.ID) (*export.Manifest, error) {
	subject := events.EventSubject(events.TypeCompleted, id.Project, id.Request)
	stream, err := a.js.Stream(ctx, events.StreamOutcomes)
	if err != nil {
		return nil, unread(err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return nil, unread(err)
	}
	if len(info.State.Subjects) == 0 {
		return nil, nil //nolint:nilnil // no outcome is an ordinary answer
	}
	stored, err := stream.GetLastMsgForSubject(ctx, subject)
	if err != nil {
		return nil, fmt.Errorf("%w (the worker's user needs the right to publish $JS.API.STREAM.MSG.GET.%s)", unread(err), events.StreamOutcomes)
	}
	header := make(map[string]string, len(stored.Header))
	for name, values := range stored.Header {
		header[name] = strings.Join(values, ", ")
	}
	out, err := events.DecodeOutcome(events.Message{Subject: stored.Subject, Header: header, Body: stored.Data})
	if err != nil {
		return nil, fmt.Errorf("a stored outcome breaks the contract: %w", err)
	}
	if out.Completed == nil {
		return nil, fmt.Errorf("the stored outcome on %s is no completed export", subject)
	}
	m, err := handlers.DecodeAnnounced(*out.Completed)
	return &m, err
}

func unread(err error) error {
	return fmt.Errorf("read %s: broker %w: %w", events.StreamOutcomes, export.ErrUnavailable, err)
}
