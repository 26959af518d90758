package telemetry

import (
	"context"
	"errors"
	"io"
	"sync"

	"go.opentelemetry.io/otel/trace"

	"github.com/pgcourier/pgcourier/internal/export"
)

// Dumper returns next with a count of the dumped bytes, and a span from the preflight of a dump to
// its end.
func (t *Telemetry) Dumper(next export.Dumper) export.Dumper { return dumper{next, t} }

type dumper struct {
	export.Dumper
	t *Telemetry
}

// Open implements export.Dumper.
func (d dumper) Open(ctx context.Context, j export.DumpJob) (export.Dump, error) {
	ctx, span := d.t.tracer.Start(ctx, "pg_dump", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(postgresql("pg_dump")...),
		trace.WithAttributes(attrFormat.String(string(j.Format)), attrSchemas.Int(len(j.Schemas))))
	opened, err := d.Dumper.Open(ctx, j)
	if err != nil {
		end(span, err)
		return nil, err
	}
	span.AddEvent("running") // after the preflight and the snapshot
	return &dump{Dump: opened, t: d.t, span: span}, nil
}

// dump is a running dump. Only one goroutine may read it.
type dump struct {
	export.Dump
	t    *Telemetry
	span trace.Span
	once sync.Once

	read int64
	err  error
}

// Read implements export.Dump.
func (d *dump) Read(p []byte) (int, error) {
	n, err := d.Dump.Read(p)
	d.read += int64(n)
	d.t.metrics.dumped.WithLabelValues().Add(float64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		d.err = err
	}
	return n, err
}

// Close implements export.Dump.
func (d *dump) Close() error {
	err := d.Dump.Close()
	d.once.Do(func() {
		d.span.SetAttributes(attrBytes.Int64(d.read))
		end(d.span, errors.Join(d.err, err))
	})
	return err
}
