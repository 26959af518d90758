package broker_test

import (
	"slices"
	"testing"

	"github.com/pgcourier/pgcourier/internal/broker"
)

func TestMessagesOfOneSubject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	q := broker.NewQueue(b.JS, b.Bind, "")
	read := func(filter string, limit int) (sequences []uint64) {
		for m, err := range q.Messages(t.Context(), filter, limit) {
			must(t, err)
			if m.EventID == "" || m.Stream == "" || len(m.Body) == 0 {
				t.Errorf("message %+v", m)
			}
			sequences = append(sequences, m.Sequence)
		}
		return sequences
	}
	if got := read(b.Subject(), 10); len(got) != 0 {
		t.Errorf("an empty queue holds %v", got)
	}
	b.Publish(5)
	must(t, q.Delete(t.Context(), first(t, q, b.Subject()).Stream, 2))
	for filter, want := range map[string][]uint64{b.Subject(): {1, 3, 4, 5}, b.Subject() + ".no": nil, ">": {1, 3, 4, 5}} {
		if got := read(filter, 10); !slices.Equal(got, want) {
			t.Errorf("under %s lie %v, want %v", filter, got, want)
		}
	}
	if got := read(b.Subject(), 2); !slices.Equal(got, []uint64{1, 3}) {
		t.Errorf("at most two are %v", got)
	}
	missing := broker.NewQueue(b.JS, broker.Binding{Stream: "NO_SUCH", Consumer: "c"}, "")
	for m, err := range missing.Messages(t.Context(), ">", 1) {
		t.Errorf("of no stream: %+v, %v", m, err)
	}
}

// first returns the oldest message.
func first(t *testing.T, q *broker.Queue, filter string) broker.QueuedMessage {
	t.Helper()
	for m, err := range q.Messages(t.Context(), filter, 1) {
		must(t, err)
		return m
	}
	t.Fatal("no message")
	return broker.QueuedMessage{}
}
