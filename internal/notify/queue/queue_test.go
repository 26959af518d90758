package queue_test

import (
	"errors"
	"testing"

	"github.com/pgcourier/pgcourier/internal/notify"
	"github.com/pgcourier/pgcourier/internal/notify/queue"
)

// A key with dots or wildcards would be another subject: the broker is not asked for it.
func TestAKeyThatCannotBeOneIsUnknown(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "a.b", "*", ">", "a b"} {
		if _, err := queue.Replay(t.Context(), nil, nil, notify.Key(key)); !errors.Is(err, queue.ErrUnknown) {
			t.Errorf("%q: %v", key, err)
		}
	}
}
