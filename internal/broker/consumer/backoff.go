package consumer

import (
	"math/rand/v2"
	"time"
)

const (
	defaultBackoffFirst = 15 * time.Second
	defaultBackoffLimit = 5 * time.Minute
)

// Backoff says how long the broker waits before the delivery after the given one; 1 is
// the first. It must be safe for concurrent use.
type Backoff func(delivery int) time.Duration

// Exponential doubles the pause from first up to limit and takes a random half off, so
// that what failed together does not come back together. random returns values in [0, 1);
// nil means math/rand.
func Exponential(first, limit time.Duration, random func() float64) Backoff {
	if random == nil {
		random = rand.Float64
	}
	return func(delivery int) time.Duration {
		pause := first
		for n := 1; n < delivery && pause < limit; n++ {
			pause *= 2
		}
		pause = min(pause, limit)
		return pause/2 + time.Duration(random()*float64(pause)/2)
	}
}
