package telemetry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgcourier/pgcourier/events/codes"
	"github.com/pgcourier/pgcourier/internal/export"
)

// Store returns next with metrics and spans for one destination. destination is its name in outcomes,
// for instance "s3".
func (t *Telemetry) Store(destination string, next export.Store) export.Store {
	t.metrics.written.WithLabelValues(destination)
	t.metrics.putDuration.WithLabelValues(destination)
	for _, operation := range []string{"put", "delete"} {
		for _, code := range storageCodes {
			t.metrics.storageFailures.WithLabelValues(destination, operation, string(code))
		}
	}
	return store{next, t, destination}
}

type store struct {
	export.Store
	t           *Telemetry
	destination string
}

// Put implements export.Store.
func (s store) Put(ctx context.Context, key string, r io.Reader, describe func() export.Manifest) ([]export.Copy, error) {
	ctx, span := s.t.tracer.Start(ctx, "store "+s.destination, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attrDestination.String(s.destination)))
	begun, source := time.Now(), &counted{r: r, taken: s.t.metrics.written.WithLabelValues(s.destination)}
	copies, err := s.Store.Put(ctx, key, source, describe)
	s.t.metrics.putDuration.WithLabelValues(s.destination).Observe(time.Since(begun).Seconds())
	if err != nil && source.err == nil { // with source.err the dump failed, not the destination
		s.t.failed(ctx, s.destination, "put", err)
	}
	span.SetAttributes(attrBytes.Int64(source.n))
	end(span, err)
	return copies, err
}

// Delete implements export.Store. It makes a span only within the span of an attempt: the sweeper
// deletes too many objects.
func (s store) Delete(ctx context.Context, key string) error {
	span := trace.SpanFromContext(ctx)
	if span.IsRecording() {
		ctx, span = s.t.tracer.Start(ctx, "delete from "+s.destination, trace.WithSpanKind(trace.SpanKindClient),
			trace.WithAttributes(attrDestination.String(s.destination)))
		defer span.End()
	}
	err := s.Store.Delete(ctx, key)
	if err != nil {
		s.t.NotDeleted(ctx, s.destination, err)
	}
	return err
}

// NotDeleted counts an export that a destination did not delete. It is for deletions that do not go
// through Store.
func (t *Telemetry) NotDeleted(ctx context.Context, destination string, err error) {
	t.failed(ctx, destination, "delete", err)
}

// failed counts an *export.Fault of a destination. An error after the end of ctx does not count.
func (t *Telemetry) failed(ctx context.Context, destination, operation string, err error) {
	fault, ok := errors.AsType[*export.Fault](err)
	switch {
	case ok:
		t.metrics.storageFailures.WithLabelValues(destination, operation, string(fault.Code)).Inc()
	case ctx.Err() == nil:
		t.metrics.storageFailures.WithLabelValues(destination, operation, string(codes.InternalError)).Inc()
	}
}

// counted counts the bytes of a stream to a destination.
type counted struct {
	r     io.Reader
	taken prometheus.Counter
	n     int64
	err   error // of the stream
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.taken.Add(float64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// Transport returns next with a count of the HTTP requests to one destination, by class of status.
func (t *Telemetry) Transport(destination string, next http.RoundTripper) http.RoundTripper {
	for _, class := range []string{"2xx", "3xx", "4xx", "429", "5xx", "none"} {
		t.metrics.storageRequests.WithLabelValues(destination, class)
	}
	return transport{next, t, destination}
}

type transport struct {
	http.RoundTripper
	t           *Telemetry
	destination string
}

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.RoundTripper.RoundTrip(r)
	class := "none"
	switch {
	case err != nil:
	case res.StatusCode == http.StatusTooManyRequests:
		class = "429"
	default:
		class = strconv.Itoa(res.StatusCode/100) + "xx"
	}
	t.t.metrics.storageRequests.WithLabelValues(t.destination, class).Inc()
	return res, err
}
