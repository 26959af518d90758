package server

import (
	"context"
	"fmt"
	"log/slog"
)

// serverLog passes the server's log to slog. nats-server's own logger ends the process after
// Fatalf; serverLog reports the error to Start.
type serverLog struct {
	log    *slog.Logger
	failed chan string
}

func (l *serverLog) put(level slog.Level, format string, v []any) {
	ctx := context.Background()
	if l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, "embedded broker", "detail", fmt.Sprintf(format, v...))
	}
}

func (l *serverLog) Noticef(format string, v ...any) { l.put(slog.LevelDebug, format, v) }

func (l *serverLog) Warnf(format string, v ...any) { l.put(slog.LevelWarn, format, v) }

func (l *serverLog) Errorf(format string, v ...any) { l.put(slog.LevelError, format, v) }

func (l *serverLog) Debugf(format string, v ...any) { l.put(slog.LevelDebug, format, v) }

func (l *serverLog) Tracef(format string, v ...any) { l.put(slog.LevelDebug, format, v) }

func (l *serverLog) Fatalf(format string, v ...any) {
	l.put(slog.LevelError, format, v)
	select {
	case l.failed <- fmt.Sprintf(format, v...):
	default:
	}
}
