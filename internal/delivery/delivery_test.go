package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pgcourier/pgcourier/internal/delivery"
)

func Example() {
	// A handler runs with the context of its message.
	handle := func(ctx context.Context) error {
		d := delivery.Of(ctx)
		if d.Number < 3 {
			return delivery.Retry(time.Minute)
		}
		return nil
	}
	for n := 1; n <= 3; n++ {
		ctx := delivery.NewContext(context.Background(), delivery.Delivery{Subject: "backup.requested.acme", Number: n})
		fmt.Println(n, handle(ctx))
	}
	// Output:
	// 1 to be delivered again after 1m0s
	// 2 to be delivered again after 1m0s
	// 3 <nil>
}

func TestAContextWithoutADelivery(t *testing.T) {
	t.Parallel()
	if d := delivery.Of(t.Context()); d != (delivery.Delivery{}) {
		t.Errorf("a delivery %+v", d)
	}
	if n := delivery.Gather(t.Context(), 3, func(int) []any { t.Error("join was called"); return nil }); n != 0 {
		t.Errorf("%d were gathered", n)
	}
	if v := delivery.Joined(t.Context()); v != nil {
		t.Errorf("joined %v", v)
	}
}

func TestGatherAndJoin(t *testing.T) {
	t.Parallel()
	var asked int
	ctx := delivery.WithGatherer(t.Context(), func(n int, join func(int) []any) int {
		asked = n
		return len(join(2))
	})
	got := delivery.Gather(ctx, 5, func(n int) []any { return make([]any, n) })
	if asked != 5 || got != 2 {
		t.Errorf("asked for %d, got %d", asked, got)
	}
	if v := delivery.Joined(delivery.WithJoined(t.Context(), "x")); v != "x" {
		t.Errorf("joined %v", v)
	}
}

func TestDecisionsAreNeverNegative(t *testing.T) {
	t.Parallel()
	retry, ok := errors.AsType[*delivery.RetryError](delivery.Retry(-time.Second))
	if !ok || retry.After != 0 {
		t.Errorf("retry %+v", retry)
	}
	snooze, ok := errors.AsType[*delivery.SnoozeError](delivery.Snooze(-time.Second))
	if !ok || snooze.After != 0 {
		t.Errorf("snooze %+v", snooze)
	}
}
