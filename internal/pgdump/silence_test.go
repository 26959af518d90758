package pgdump_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgcourier/pgcourier/internal/pgdump"
)

func TestASilentDumpIsLoggedAtGrowingIntervals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		w := pgdump.NewWatch(time.Hour, time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		go pgdump.TellSilence(ctx, slog.New(slog.NewTextHandler(&out, nil)), w.Silence, func(context.Context) string { return "a lock" })
		lines := func() string { synctest.Wait(); text := out.String(); out.Reset(); return text }
		w.Begin()
		time.Sleep(59 * time.Second)
		if text := lines(); text != "" {
			t.Errorf("before a minute: %s", text)
		}
		time.Sleep(10*time.Minute - 59*time.Second + time.Millisecond)
		text := lines()
		for _, at := range []string{"for=1m0s", "for=2m0s", "for=4m0s", "for=8m0s"} {
			if !strings.Contains(text, at+" reason=\"a lock\"") {
				t.Errorf("no line at %s in\n%s", at, text)
			}
		}
		if n := strings.Count(text, "no progress"); n != 4 {
			t.Errorf("%d lines in ten minutes", n)
		}
		w.Progress()
		time.Sleep(30 * time.Second)
		if text := lines(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "progress again") {
			t.Errorf("after progress: %s", text)
		}
		time.Sleep(31 * time.Second)
		if text := lines(); !strings.Contains(text, "for=1m") {
			t.Errorf("after a minute more: %s", text)
		}
		cancel()
		synctest.Wait()
	})
}

func TestADumpThatEndsDuringTheLookIsNotLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		w := pgdump.NewWatch(time.Hour, time.Hour)
		w.Begin()
		ctx, cancel := context.WithCancel(t.Context())
		pgdump.TellSilence(ctx, slog.New(slog.NewTextHandler(&out, nil)), w.Silence, func(context.Context) string {
			cancel()
			return "the source cannot be asked: context canceled"
		})
		if out.Len() > 0 {
			t.Errorf("logged %s", out.String())
		}
	})
}

func TestALongWaitForASlotIsLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		release := make(chan struct{})
		time.AfterFunc(3*time.Minute, func() { close(release) })
		if err := pgdump.WaitForSlot(t.Context(), slog.New(slog.NewTextHandler(&out, nil)), "acme", release); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out.String(), `for="another dump of its group to end"`); n != 3 || strings.Count(out.String(), "project_id=acme") != n {
			t.Errorf("want lines after 1 and 2 minutes and at the end:\n%s", out.String())
		}
	})
}
