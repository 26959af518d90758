package notify

import (
	"errors"
	"time"
)

// The defaults of how a Courier tries again.
const (
	DefaultPause = 30 * time.Second
	DefaultTries = 20
	// With the defaults the pauses grow from 30 s to six hours, and the tries of one
	// notification stretch over two and a half days: a weekend.
	pauseLimit = 720 // times the first pause
	// longestDelay is the longest wait asked for by the other side that is obeyed.
	longestDelay = 24 * time.Hour
)

// pauseAfter returns how long to wait after a failed try, of which tries were made. It doubles
// with each, and is at least what the other side asked for.
func (c *Courier) pauseAfter(tries int, fault error) time.Duration {
	pause := c.Pause
	for n := 1; n < tries && pause < pauseLimit*c.Pause; n++ {
		pause *= 2
	}
	pause = min(pause, pauseLimit*c.Pause)
	if asked, ok := errors.AsType[*DelayError](fault); ok {
		pause = max(pause, min(asked.After, longestDelay))
	}
	return pause
}
