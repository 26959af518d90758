package service

import (
	"context"
	"testing"
	"testing/synctest"
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
