package server

import (
	"errors"
	"slices"
	"testing"
)

// A stream that is being created looks broken to one check, and another stream to the next.
func TestOnlyTheSameFaultInARowCounts(t *testing.T) {
	t.Parallel()
	var seen repeated
	var got []int
	for _, fault := range []string{"a", "b", "b", "a", "a", "a"} {
		got = append(got, seen.add(errors.New(fault)))
	}
	if want := []int{1, 1, 2, 1, 2, 3}; !slices.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}
