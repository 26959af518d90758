package notify

import (
	"errors"
	"time"
)

// The defaults of a Courier's retries.
const (
	DefaultPause = 30 * time.Second
	DefaultTries = 20
	// With the defaults the pauses grow from 30 s to six hours. All attempts of one notification take
	// two and a half days, so that an outage over a weekend loses none.
	pauseLimit = 720 // times the first pause
	// longestDelay bounds a wait that the receiver asks for.
	longestDelay = 24 * time.Hour
)

// pauseAfter returns the pause after a failed attempt. tries counts the attempts so far. The pause
// doubles with each attempt and is never shorter than the receiver asked for.
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
