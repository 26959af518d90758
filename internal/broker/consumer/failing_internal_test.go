package consumer

import (
	"slices"
	"testing"
	"time"
)

func TestFailuresToPullAreLoggedAtGrowingIntervals(t *testing.T) {
	t.Parallel()
	var f failing
	begun := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	var told []float64
	for at := begun; at.Before(begun.Add(4 * time.Hour)); at = at.Add(5 * time.Second) {
		if lasted, due := f.due(at); due {
			told = append(told, lasted.Minutes())
		}
	}
	if want := []float64{0, 1, 3, 7, 15, 31, 63, 123, 183}; !slices.Equal(told, want) {
		t.Errorf("told after %v minutes, want %v", told, want)
	}
	if !f.end() || f.end() {
		t.Error("the series did not end once")
	}
	if lasted, due := f.due(begun); lasted != 0 || !due {
		t.Errorf("the next series begins with %s, %t", lasted, due)
	}
}
