package export_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
)

// A wait of three hours logs a few lines, each with its cause.
func TestAWaitIsLoggedAtGrowingIntervals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		log := slog.New(slog.NewTextHandler(&text, nil))
		begun := time.Now()
		err := export.Retry(t.Context(), export.Wait{For: "the ledger", Log: log}, func(context.Context) error {
			if time.Since(begun) > 3*time.Hour {
				return nil
			}
			return fmt.Errorf("ledger %w: connection refused", export.ErrUnavailable)
		})
		if err != nil {
			t.Fatal(err)
		}
		// After 1, 2, 4, 8, 16, 32, 64, 124 minutes, and the end.
		lines := strings.Split(strings.TrimSpace(text.String()), "\n")
		if len(lines) != 9 || strings.Count(text.String(), "connection refused") != 8 || !strings.Contains(lines[8], "wait ended") {
			t.Errorf("%d lines:\n%s", len(lines), text.String())
		}
	})
}

// A wait without tries is logged like one with tries, and only if it is long.
func TestAWaitForAnEventIsLoggedAtGrowingIntervals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		w := export.Wait{For: "a slot", Log: slog.New(slog.NewTextHandler(&text, nil))}
		for waited, want := range map[time.Duration]int{59 * time.Second: 0, 5 * time.Minute: 4} { // after 1, 2, 4 minutes, and the end
			text.Reset()
			end := w.Begin(t.Context())
			time.Sleep(waited)
			end()
			if n := strings.Count(text.String(), `for="a slot"`); n != want || want > 0 && strings.Count(text.String(), "wait ended") != 1 {
				t.Errorf("a wait of %s: %d lines:\n%s", waited, n, text.String())
			}
		}
	})
}

func TestAShortWaitIsNotLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		begun := time.Now()
		err := export.Retry(t.Context(), export.Wait{Log: slog.New(slog.NewTextHandler(&text, nil))}, func(context.Context) error {
			if time.Since(begun) > 50*time.Second {
				return nil
			}
			return export.ErrUnavailable
		})
		if err != nil || text.Len() > 0 {
			t.Errorf("%v, %q", err, text.String())
		}
	})
}
