package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"

	"go.opentelemetry.io/otel/trace"
)

// NewLogger returns a logger that writes to w. level is one of slog's names, format is text or
// json. Durations are written with their unit.
func NewLogger(w io.Writer, level, format string) *slog.Logger {
	var l slog.Level
	_ = l.UnmarshalText([]byte(level)) // the configuration was validated
	opts := &slog.HandlerOptions{Level: l}
	if format == "json" {
		opts.ReplaceAttr = readableDuration
		return slog.New(NewLogHandler(slog.NewJSONHandler(w, opts)))
	}
	return slog.New(NewLogHandler(slog.NewTextHandler(w, opts)))
}

// readableDuration writes a duration with its unit, such as "1.5s", as the text format does. By
// default the JSON format writes a number of nanoseconds.
func readableDuration(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, a.Value.Duration().String())
	}
	return a
}

// LogHandler adds attributes from the context to each record: project_id, request_id and attempt of
// the current request, trace_id and span_id of the span. Attributes with these keys on the record or
// the logger take precedence.
type LogHandler struct {
	next  slog.Handler
	given []string // keys of the logger's own attributes
	group bool     // a group is open: added attributes would be part of it
}

var _ slog.Handler = (*LogHandler)(nil)

// NewLogHandler returns a LogHandler that passes records on to next.
func NewLogHandler(next slog.Handler) *LogHandler { return &LogHandler{next: next} }

// Enabled implements slog.Handler.
func (h *LogHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *LogHandler) Handle(ctx context.Context, r slog.Record) error {
	if h.group {
		return h.next.Handle(ctx, r)
	}
	own := h.given
	r.Attrs(func(a slog.Attr) bool {
		own = append(own[:len(own):len(own)], a.Key)
		return true
	})
	add := func(a slog.Attr) {
		if !slices.Contains(own, a.Key) {
			r.AddAttrs(a)
		}
	}
	r = r.Clone()
	if w := workOf(ctx); w != nil {
		project, request, attempt := w.get()
		if request != "" {
			add(slog.String("project_id", project))
			add(slog.String("request_id", request))
		}
		if attempt > 0 {
			add(slog.Int("attempt", attempt))
		}
	}
	if s := trace.SpanContextFromContext(ctx); s.IsValid() {
		add(slog.String("trace_id", s.TraceID().String()))
		add(slog.String("span_id", s.SpanID().String()))
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *LogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.next = h.next.WithAttrs(attrs)
	if !h.group {
		c.given = slices.Clone(h.given)
		for _, a := range attrs {
			c.given = append(c.given, a.Key)
		}
	}
	return &c
}

// WithGroup implements slog.Handler.
func (h *LogHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.next, c.group = h.next.WithGroup(name), true
	return &c
}
