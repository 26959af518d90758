package events_test

import (
	"testing"

	"github.com/pgcourier/pgcourier/events"
)

func TestAnOutcomeAnswersItsOwnRequestOnly(t *testing.T) {
	t.Parallel()
	asked := events.Requested{ProjectID: "acme", Schemas: []string{"b", "a"}}
	recorded := events.Requested{
		ProjectID: "acme", RequestID: "r", Schemas: []string{"a", "b"}, Format: events.FormatSQL, Compression: events.CompressionGzip,
	}
	other := recorded
	other.Format = events.FormatTar
	for name, c := range map[string]struct {
		outcome events.Outcome
		want    bool
	}{
		"completed":                 {events.Outcome{Completed: &events.Completed{Request: &recorded}}, true},
		"failed":                    {events.Outcome{Failed: &events.Failed{Request: &recorded}}, true},
		"completed, other contents": {events.Outcome{Completed: &events.Completed{Request: &other}}, false},
		"failed, other contents":    {events.Outcome{Failed: &events.Failed{Request: &other}}, false},
		"without its request":       {events.Outcome{Completed: &events.Completed{}}, true},
	} {
		if got := c.outcome.Answers(asked); got != c.want {
			t.Errorf("%s: answers the request: %t, want %t", name, got, c.want)
		}
	}
}
