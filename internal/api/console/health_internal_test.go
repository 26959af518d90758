package console

import (
	"context"
	"testing"
)

// A browser that goes away does not end the checks: their result is shown to all callers.
func TestTheChecksOutliveTheirCaller(t *testing.T) {
	t.Parallel()
	gone, leave := context.WithCancel(t.Context())
	leave()
	var x examination
	err := x.run(gone, func(ctx context.Context) []Finding {
		if err := ctx.Err(); err != nil {
			return []Finding{{Check: "broker", State: "fault", Found: err.Error()}}
		}
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("the checks have no time limit")
		}
		return []Finding{{Check: "broker", State: "ok"}}
	})
	if err != nil || len(x.findings) != 1 || x.findings[0].State != "ok" {
		t.Errorf("found %+v, %v", x.findings, err)
	}
}

func TestTheChecksRunAgainAfterAPanic(t *testing.T) {
	t.Parallel()
	var x examination
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is not passed on")
			}
		}()
		_ = x.run(t.Context(), func(context.Context) []Finding { panic("a fault of a check") })
	}()
	if !x.at.IsZero() {
		t.Error("a result of no check is shown")
	}
	err := x.run(t.Context(), func(ctx context.Context) []Finding {
		if err := x.run(ctx, nil); err == nil {
			t.Error("the checks run twice at the same time")
		}
		return nil
	})
	if err != nil || x.at.IsZero() {
		t.Errorf("again: %v", err)
	}
}
