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
			diffs = append(diffs, fmt.Sprintf("%q has %d rows in the dump and is not in the snapshot", t, n))
		} else if n != want {
			diffs = append(diffs, fmt.Sprintf("%q has %d rows in the dump and %d in the snapshot", t, n, want))
		}
	}
	for t, n := range snapshot {
		if _, ok := stream[t]; !ok {
			diffs = append(diffs, fmt.Sprintf("%q is not in the dump and has %d rows in the snapshot", t, n))
		}
	}
	slices.Sort(diffs)
	const most = 5 // names of a message
	shown := strings.Join(diffs[:min(len(diffs), most)], "; ")
	if len(diffs) > most {
		shown += fmt.Sprintf("; and %d more", len(diffs)-most)
	}
	return &Fault{
		Code:    codes.DumpIncomplete,
		Message: fmt.Sprintf("the dump's rows differ from its snapshot in %d tables: %s", len(diffs), shown),
	}
}
