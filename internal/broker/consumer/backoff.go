package consumer

import (
	"math/rand/v2"
	"time"
)

const (
	defaultBackoffFirst = 15 * time.Second
	defaultBackoffLimit = 5 * time.Minute
)

// Backoff returns the pause before the delivery after the given one. The first delivery is 1. It
// must be safe for concurrent use.
type Backoff func(delivery int) time.Duration

// Exponential doubles the pause from first up to limit and subtracts a random half, so that
// messages that failed together are not redelivered together. random returns values in [0, 1); nil
// means math/rand.
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
