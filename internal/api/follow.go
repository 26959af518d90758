package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/pgcourier/pgcourier/internal/api/access"
	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// slowest bounds one write to a follower.
	slowest = 10 * time.Second
	// longest bounds one stream of events; the client reconnects and resumes.
	longest = time.Hour
)

type followInput struct {
	ExportPath
	Last string `header:"Last-Event-ID" doc:"Goes on after the event with this id" maxLength:"100"`
}

type followOutput struct {
	Body func(huma.Context)
}

func (a *API) registerEvents(operations huma.API) {
	op := a.operation("follow-export", http.MethodGet, exportPath+"/events", "Follow an export",
		"Server-Sent Events: `event` is the type of an event of the contract, `data` its body. Stored events have an `id`, with which "+
			"`Last-Event-ID` resumes; progress has none. The stream ends after a failure or a verification, and asking again is answered with 204.",
		access.Read)
	op.Responses["200"] = &huma.Response{
		Description: "Events, as they happen",
		Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: "string"}}},
	}
	op.Responses["204"] = &huma.Response{Description: "There is nothing more to come"}
	huma.Register(operations, op, a.follow)
}

func (a *API) follow(ctx context.Context, in *followInput) (*followOutput, error) {
	if _, err := a.find(ctx, in.Project, in.ID); err != nil {
		return nil, a.problemOf(ctx, err)
	}
	t := a.feed.follow(export.ID{Project: in.Project, Request: in.ID})
	if err := t.await(ctx); err != nil {
		a.feed.leave(t)
		return nil, a.problemOf(ctx, err)
	}
	return &followOutput{func(hc huma.Context) {
		defer a.feed.leave(t)
		_, w := humago.Unwrap(hc)
		s := &eventStream{w: w, control: http.NewResponseController(w)}
		s.run(hc.Context(), t, in.Last, a.feed.draining)
	}}, nil
}

// await waits until the streams were read once.
func (t *topic) await(ctx context.Context) error {
	for {
		_, _, changed, ready, err := t.since(0)
		if ready || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

// eventStream writes events to one caller.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	sent    *occurrence // the latest progress that was sent
}

// run writes events until the client disconnects, is too slow, or no more events can follow.
func (s *eventStream) run(ctx context.Context, t *topic, last string, draining <-chan struct{}) {
	index := 0
	stored, _, _, _, _ := t.since(0)
	if i := slices.IndexFunc(stored, func(o occurrence) bool { return o.id == last }); i >= 0 {
		index = i + 1
		if index == len(stored) && stored[i].over() {
			s.w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	s.w.Header().Set("Content-Type", "text/event-stream")
	s.w.Header().Set("X-Accel-Buffering", "no") // nginx would buffer events
	s.w.WriteHeader(http.StatusOK)
	beat := time.NewTicker(lookEvery)
	defer beat.Stop()
	end := time.NewTimer(longest)
	defer end.Stop()
	text := []byte(": events\n\n")
	for {
		stored, live, changed, _, _ := t.since(index)
		over := false
		for _, o := range stored {
			text = o.append(text)
			over = over || o.over()
		}
		index += len(stored)
		if live != nil && live != s.sent && !over {
			text, s.sent = live.append(text), live
		}
		if !s.write(text) || over {
			return
		}
		text = text[:0]
		select {
		case <-ctx.Done():
			return
		case <-draining:
			return
		case <-end.C:
			return
		case <-beat.C:
			text = append(text, ": waiting\n\n"...)
		case <-changed:
		}
	}
}

// write writes text and reports whether the client read it in time.
func (s *eventStream) write(text []byte) bool {
	if len(text) == 0 {
		return true
	}
	if err := s.control.SetWriteDeadline(time.Now().Add(slowest)); err != nil {
		return false
	}
	if _, err := s.w.Write(text); err != nil {
		return false
	}
	// The next write may be later than the deadline, which would then end a stream of HTTP/2.
	return s.control.Flush() == nil && s.control.SetWriteDeadline(time.Time{}) == nil
}

// append appends the event in the form of Server-Sent Events.
func (o occurrence) append(to []byte) []byte {
	out := bytes.NewBuffer(to)
	if o.id != "" {
		fmt.Fprintf(out, "id: %s\n", o.id)
	}
	fmt.Fprintf(out, "event: %s\ndata: %s\n\n", o.kind, o.body)
	return out.Bytes()
}
