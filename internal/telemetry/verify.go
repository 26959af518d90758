package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/pgcourier/pgcourier/events"
	"github.com/pgcourier/pgcourier/events/codes"
)

// Verifier verifies completed exports; handlers call it.
type Verifier interface {
	Verify(ctx context.Context, c events.Completed) (*events.Verified, *events.VerificationFailed, error)
}

// Verifier returns next with metrics and spans of verifications.
func (t *Telemetry) Verifier(next Verifier) Verifier {
	for _, result := range []string{resultVerified, resultGone, resultNotMade} {
		t.metrics.verifications.WithLabelValues(result, "")
	}
	for _, code := range []codes.Code{codes.ExportMissing, codes.ExportDamaged, codes.RestoreRejected} {
		t.metrics.verifications.WithLabelValues(resultFailed, string(code))
	}
	return verifier{next, t}
}

type verifier struct {
	next Verifier
	t    *Telemetry
}

func (v verifier) Verify(ctx context.Context, c events.Completed) (*events.Verified, *events.VerificationFailed, error) {
	ctx, span := v.t.tracer.Start(ctx, "verify", trace.WithAttributes(attrAttempt.Int(c.Attempt)))
	begun := time.Now()
	verified, failed, err := v.next.Verify(ctx, c)
	result, code := resultGone, ""
	switch {
	case err != nil:
		result = resultNotMade
	case failed != nil:
		result, code = resultFailed, string(failed.Code)
	case verified != nil:
		result = resultVerified
	}
	if err == nil {
		v.t.metrics.verifyDuration.WithLabelValues().Observe(time.Since(begun).Seconds())
	}
	v.t.metrics.verifications.WithLabelValues(result, code).Inc()
	span.SetAttributes(attrVerdict.String(result))
	end(span, err)
	return verified, failed, err
}
