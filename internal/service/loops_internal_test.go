package service

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestALoopIsLateWhenItsNextTurnDoesNotCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLoops()
		check := func(want ...string) {
			t.Helper()
			if got := l.late(); !slices.Equal(got, want) {
				t.Errorf("late are %q, want %q", got, want)
			}
		}
		check()
		l.turn("health", 8*time.Second)
		l.turn("export-worker", 30*time.Second)
		l.turn("intake", 10*time.Minute)
		time.Sleep(8*time.Second + loopGrace)
		check()
		time.Sleep(time.Second)
		check("health")
		time.Sleep(30 * time.Second)
		check("export-worker", "health")
		l.turn("health", 8*time.Second)
		check("export-worker")
		l.turn("export-worker", 0)
		check()
	})
}
