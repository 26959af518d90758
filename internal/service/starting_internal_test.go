package service

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A service logs that it serves once every part has begun, and pulls nothing before.
func TestNothingIsPulledBeforeEveryPartHasBegun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, started := newStarting()
		first, second := s.part(), s.part()
		said, pulled := false, false
		go s.say(t.Context(), func() { said = true })
		go func() { pulled = s.ready(t.Context()) == nil && said }()
		for _, begun := range []func(){first, first, started} {
			begun()
			synctest.Wait()
			if said || pulled {
				t.Fatalf("said %t, pulled %t while a part has not begun", said, pulled)
			}
		}
		second()
		synctest.Wait()
		if !said || !pulled {
			t.Errorf("said %t, pulled %t after all have begun", said, pulled)
		}
	})
}

func TestAServiceThatEndsBeforeItHasBegunSaysNothing(t *testing.T) {
	t.Parallel()
	s, _ := newStarting()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.say(ctx, func() { t.Error("it says that it serves") })
	if err := s.ready(ctx); err == nil {
		t.Error("messages are pulled")
	}
}

// A long start is logged with what it waits for. After a signal it has five seconds to end.
func TestALongStartIsLoggedAndEndsWithASignal(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]bool{"one that ends with its context": true, "one that hangs": false} {
		synctest.Test(t, func(t *testing.T) {
			var text strings.Builder
			s := &Service{log: slog.New(slog.NewTextHandler(&text, nil)), manager: newManager(nil)}
			s.opening("the ledger")
			ctx, cancel := context.WithCancel(t.Context())
			opened := make(chan error, 1)
			go func() {
				time.Sleep(5 * time.Minute)
				cancel()
				if ends {
					opened <- errors.New("a lost connection")
				}
			}()
			begun := time.Now()
			open, err := s.awaitOpen(ctx, opened)
			if after := time.Since(begun) - 5*time.Minute; open || err != nil || after > openingGrace {
				t.Errorf("%s: %t, %v, ended %s after the signal", name, open, err, after)
			}
			if lines := strings.Count(text.String(), `waits_for="the ledger"`); lines != 3 || !strings.Contains(text.String(), `waited_for="the ledger"`) {
				t.Errorf("%s: %d lines:\n%s", name, lines, text.String())
			}
		})
	}
}
