package consumer

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestFailuresToPullAreLoggedAtGrowingIntervals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var f failing
		var told []float64
		for begun := time.Now(); time.Since(begun) < 4*time.Hour; time.Sleep(5 * time.Second) {
			if lasted, due := f.due(); due {
				told = append(told, lasted.Minutes())
			}
		}
		if want := []float64{0, 1, 3, 7, 15, 31, 63, 123, 183}; !slices.Equal(told, want) {
			t.Errorf("told after %v minutes, want %v", told, want)
		}
		if !f.end() || f.end() {
			t.Error("the series did not end once")
		}
		if lasted, due := f.due(); lasted != 0 || !due {
			t.Errorf("the next series begins with %s, %t", lasted, due)
		}
	})
}
