package telegram

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// defaultRetryAfter is obeyed where a 429 names no time, as a proxy's page.
const defaultRetryAfter = 5 * time.Second

// do makes a call until it succeeds, fails for good, the attempts are used up or ctx ends.
// With a chat, each try waits for its turn in that chat's lane. once must be repeatable.
func (c *Client) do(ctx context.Context, method string, chat int64, once func(context.Context) error) error {
	pauses := &backoff.ExponentialBackOff{
		InitialInterval: time.Second, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 30 * time.Second,
	}
	pauses.Reset()
	for attempt := 1; ; {
		err := c.inTurn(ctx, chat, once)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("telegram %s: %w (%w)", method, ended(ctx), err)
		}
		pause, again := c.pause(err, pauses)
		if !again {
			return err
		}
		if !isFlood(err) {
			if attempt++; attempt > c.attempts {
				return fmt.Errorf("%d attempts: %w", c.attempts, err)
			}
		}
		c.log.InfoContext(ctx, "telegram call waits", "method", method, "attempt", attempt, "pause", pause, "error", err.Error())
		if serr := c.wait(ctx, pause, err); serr != nil {
			return fmt.Errorf("wait %v to repeat: %w (%w)", pause, serr, err)
		}
	}
}

// wait waits before a call is repeated. A wait that Telegram asks for is none of the time for
// storing.
func (c *Client) wait(ctx context.Context, pause time.Duration, err error) error {
	if isFlood(err) {
		defer storage.Pause(ctx)()
	}
	return c.clock.Sleep(ctx, pause)
}

func (c *Client) inTurn(ctx context.Context, chat int64, once func(context.Context) error) error {
	if chat == 0 {
		return once(ctx)
	}
	l := c.laneOf(chat)
	if err := l.acquire(ctx); err != nil {
		return fmt.Errorf("wait for the chat's turn: %w", err)
	}
	defer l.release()
	err := once(ctx)
	if isFlood(err) {
		// Before the turn is given back, so that the next call waits too.
		l.silence(floodWait(err))
	}
	return err
}

// pause says whether a failed call is worth repeating, and after how long.
func (c *Client) pause(err error, pauses *backoff.ExponentialBackOff) (time.Duration, bool) {
	if isFlood(err) {
		wait := floodWait(err)
		return wait, wait <= c.maxRetryAfter
	}
	if api, ok := errors.AsType[*APIError](err); ok {
		return pauses.NextBackOff(), api.Transient()
	}
	if _, ok := errors.AsType[*TransportError](err); ok {
		return pauses.NextBackOff(), true
	}
	return 0, false
}

// floodWait is how long a 429 asks to wait.
func floodWait(err error) time.Duration {
	if api, ok := errors.AsType[*APIError](err); ok && api.RetryAfter > 0 {
		return api.RetryAfter
	}
	return defaultRetryAfter
}

func isFlood(err error) bool {
	api, ok := errors.AsType[*APIError](err)
	return ok && api.Code == http.StatusTooManyRequests
}
