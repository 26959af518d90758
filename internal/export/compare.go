package export

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pgcourier/pgcourier/events/codes"
)

// compare compares the rows counted in the stream with those of the snapshot. Any difference is a
// Fault: such a dump is never a success.
func compare(stream, snapshot map[Table]int64) error {
	if maps.Equal(stream, snapshot) {
		return nil
	}
	var diffs []string
	for t, n := range stream {
		if want, ok := snapshot[t]; !ok {
			diffs = append(diffs, fmt.Sprintf("%s: %d rows in the stream, not in the snapshot", t, n))
		} else if n != want {
			diffs = append(diffs, fmt.Sprintf("%s: %d rows in the stream, %d in the snapshot", t, n, want))
		}
	}
	for t, n := range snapshot {
		if _, ok := stream[t]; !ok {
			diffs = append(diffs, fmt.Sprintf("%s: not in the stream, %d rows in the snapshot", t, n))
		}
	}
	slices.Sort(diffs)
	return &Fault{
		Code:    codes.DumpIncomplete,
		Message: fmt.Sprintf("the dump's rows differ from its snapshot in %d tables", len(diffs)),
		Err:     fmt.Errorf("rows differ: %s", strings.Join(diffs[:min(len(diffs), 10)], "; ")),
	}
}
