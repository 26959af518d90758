package handover

import (
	"testing"
	"testing/synctest"
	"time"
)

// steps records n bytes that a client takes at bytesPerSecond.
func steps(p *pace, n int64, bytesPerSecond float64) {
	for n > 0 {
		begun, size := time.Now(), min(int64(len(p.buffer())), n)
		time.Sleep(time.Duration(float64(size) / bytesPerSecond * float64(time.Second)))
		p.wrote(int(size), begun)
		n -= size
	}
}

func TestOnlyAFastClientHasALargeBuffer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		permits := make(chan struct{}, 1)
		p := newPace(permits, 1<<40)
		steps(p, trial-1, 1e9)
		if len(p.buffer()) != smallStep {
			t.Errorf("it has %d bytes before the trial is over", len(p.buffer()))
		}
		steps(p, 1, 1e9)
		if len(p.buffer()) != largeStep || len(permits) != 1 {
			t.Errorf("a fast client has %d bytes, %d permits are taken", len(p.buffer()), len(permits))
		}
		second := newPace(permits, 1<<40)
		steps(second, 3*trial, 1e9)
		if len(second.buffer()) != smallStep {
			t.Errorf("a client above the bound has %d bytes", len(second.buffer()))
		}
		steps(p, largeStep, 10e6)
		if len(p.buffer()) != smallStep || len(permits) != 0 {
			t.Errorf("a client that became slow has %d bytes, %d permits are taken", len(p.buffer()), len(permits))
		}
		steps(second, trial, 1e9)
		if len(second.buffer()) != largeStep {
			t.Errorf("the next fast client has %d bytes", len(second.buffer()))
		}
		second.end()
		steps(p, 3*trial, 50e6)
		if p.end(); len(p.buffer()) != smallStep || len(permits) != 0 {
			t.Errorf("a slow client has %d bytes, %d permits are taken", len(p.buffer()), len(permits))
		}
	})
}

func TestASmallFileTakesNoMoreThanItsSize(t *testing.T) {
	t.Parallel()
	if p := newPace(nil, 100); len(p.buffer()) != 100 {
		t.Errorf("%d bytes", len(p.buffer()))
	}
}
