package events_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgcourier/pgcourier/events"
)

func TestReplayIDsAreStableAndFit(t *testing.T) {
	t.Parallel()
	if got := events.ReplayID("nightly-42", 3); got != "nightly-42-r3" {
		t.Errorf("the third replay is %q", got)
	}
	long := strings.Repeat("x", 100)
	seen := map[string]string{}
	for _, first := range []string{"a", "a-r1", long[:97], long[:98], long, long[:99] + "y", long[:99] + "z"} {
		for _, n := range []int{1, 2, 11, events.MaxGeneration} {
			id, what := events.ReplayID(first, n), fmt.Sprintf("%d of %s", n, first)
			if !events.ValidRequest(id) || id != events.ReplayID(first, n) || !strings.HasSuffix(id, fmt.Sprintf("-r%d", n)) {
				t.Errorf("%s: %q", what, id)
			}
			if seen[id] != "" {
				t.Errorf("%s and %s are both %q", what, seen[id], id)
			}
			seen[id] = what
		}
	}
}

func TestAReplayAsksForTheSameAndPointsToTheFirst(t *testing.T) {
	t.Parallel()
	original := events.Requested{
		ProjectID: "acme", RequestID: "r", Schemas: []string{"s"}, RequestedBy: "ann", NotifyEmail: "ops@example.com",
		Trace: events.Trace{Parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	}
	first := original.Replay(1)
	second := first.Replay(2)
	for n, r := range map[int]events.Requested{1: first, 2: second} {
		of, generation := r.First()
		if r.RequestID != events.ReplayID("r", n) || of != "r" || generation != n || r.Trace.Parent != "" {
			t.Errorf("replay %d is %+v", n, r)
		}
		r.RequestID, r.ReplayOf, r.Generation = original.RequestID, "", 0
		before, err := original.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		after, err := r.Canonical()
		if err != nil || string(after) != string(before) {
			t.Errorf("replay %d asks for %s, %v; the original for %s", n, after, err, before)
		}
	}
	for body, field := range map[string]string{
		`{"project_id":"a","replay_of":"r"}`:                      "generation",
		`{"project_id":"a","generation":1}`:                       "replay_of",
		`{"project_id":"a","replay_of":"r","generation":0}`:       "generation",
		`{"project_id":"a","replay_of":"r","generation":1000001}`: "generation",
		`{"project_id":"a","replay_of":"a.b","generation":1}`:     "replay_of",
		`{"project_id":"a","replay_of":"r","generation":"1"}`:     "generation",
	} {
		if _, err := events.Decode(events.Message{Body: []byte(body)}); err == nil || !strings.HasPrefix(err.Error(), "invalid "+field+":") {
			t.Errorf("%s: %v, want a fault of %s", body, err, field)
		}
	}
}
