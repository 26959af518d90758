package service

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Of a thousand concurrent calls one looks, and the others get its result for a while.
func TestAThousandProbesCauseOneLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		looks, away := 0, errors.New("away")
		r := readyCache{look: func(ctx context.Context) error {
			looks++ // one at a time
			if until, bounded := ctx.Deadline(); !bounded || time.Until(until) != readyTimeout {
				t.Errorf("a look may take until %v", until)
			}
			return away
		}}
		ask := func() {
			var all sync.WaitGroup
			for range 1000 {
				all.Go(func() {
					if err := r.current(); !errors.Is(err, away) {
						t.Errorf("the answer is %v", err)
					}
				})
			}
			all.Wait()
		}
		ask()
		ask()
		if looks != 1 {
			t.Errorf("%d looks, want one", looks)
		}
		time.Sleep(readyEvery)
		ask()
		if looks != 2 {
			t.Errorf("%d looks, want another one after %v", looks, readyEvery)
		}
	})
}
