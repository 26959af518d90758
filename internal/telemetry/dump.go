package telemetry

import (
	"context"
	"errors"
	"io"
	"sync"

	"go.opentelemetry.io/otel/trace"

	"github.com/pgcourier/pgcourier/internal/export"
)

// Dumper counts what is read from dumps, and traces each from its preflight to its end.
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
	span.AddEvent("running") // the preflight is over, the snapshot is taken
	return &dump{Dump: opened, t: d.t, span: span}, nil
}

// dump is a running dump. Like the one within, it is read by one goroutine.
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
