package s3

import (
	"context"
	"time"
)

// NewSmall is New without the bound on the size of parts, so that tests can use small ones.
func NewSmall(c Config) (*Driver, error) { return build(c.withDefaults()) }

// Quick makes few tries of a request and calls slept for each wait instead of waiting.
func (c Config) Quick(slept func(time.Duration)) Config {
	c.tries, c.sleep = 2, func(ctx context.Context, d time.Duration) error {
		slept(d)
		return ctx.Err()
	}
	return c
}
