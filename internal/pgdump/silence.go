package pgdump

import (
	"context"
	"log/slog"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	// firstSilence is how long pg_dump must make no progress before that is logged.
	firstSilence = time.Minute
	// silenceLook is the pause between two checks.
	silenceLook = time.Second
)

// tellSilence logs at growing intervals that a dump makes no progress, until ctx ends. silence returns
// for how long it has made none, cause the known reason.
func tellSilence(ctx context.Context, log *slog.Logger, silence func() time.Duration, cause func(context.Context) string) {
	t := time.NewTicker(silenceLook)
	defer t.Stop()
	remind := export.Reminder{After: 1}
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		quiet := silence()
		if quiet < firstSilence {
			if _, told := remind.End(); told {
				log.InfoContext(ctx, "pg_dump makes progress again")
			}
			continue
		}
		if _, due := remind.Due(); !due {
			continue
		}
		reason := cause(ctx)
		if ctx.Err() != nil { // the dump ended meanwhile
			return
		}
		log.WarnContext(ctx, "pg_dump makes no progress", "for", quiet.Round(time.Second), "reason", reason)
	}
}

// obstacle returns what pg_dump waits for, as the source shows it.
func (o *opening) obstacle(ctx context.Context) string {
	h, err := o.awaited(ctx, 0)
	switch {
	case err != nil:
		return "the source cannot be asked: " + err.Error()
	case h != nil:
		return h.words()
	}
	return "it waits for no lock: the source or the network is slow, or its server process hangs"
}
