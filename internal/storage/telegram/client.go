package telegram

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/pgcourier/pgcourier/internal/export"
	"github.com/pgcourier/pgcourier/internal/storage"
)

// DefaultBaseURL is Telegram's own Bot API server.
const DefaultBaseURL = "https://api.telegram.org"

// StallTimeout ends a transfer that moved no byte for so long.
const StallTimeout = 2 * time.Minute

// The defaults of ClientConfig.
const (
	DefaultReplyGrace    = 5 * time.Second
	DefaultAttempts      = 6
	DefaultMaxRetryAfter = 24 * time.Hour
)

// ClientConfig says how to reach the Bot API.
type ClientConfig struct {
	// Token is the bot's token as BotFather gave it. Required.
	Token export.Secret
	// BaseURL is the Bot API server. Default: DefaultBaseURL. The token is part of each
	// request, so plain http is for a server on the same machine or a trusted network.
	BaseURL string
	// LocalDir is the folder where a Bot API server in --local mode keeps its files, as
	// this process sees it under the same path. Such a server answers getFile with a
	// path instead of a download; only files below LocalDir are ever opened. Default: none.
	LocalDir string
	// Transport makes the connections. Default: one of the client's own, HTTP/1.1, with
	// the environment's proxy. The client never follows redirects.
	Transport http.RoundTripper
	// Around stands around the transport and sees each request of each try. The token is in
	// its path. Default: none.
	Around func(http.RoundTripper) http.RoundTripper
	// ReplyGrace is how long the answer to a message that was sent is still waited for
	// after the call's context ended, so that it does not become an orphan. Default:
	// DefaultReplyGrace.
	ReplyGrace time.Duration
	// Attempts is how often a call is made while it fails in a way that can pass. Waits
	// that Telegram asks for are not attempts. Default: DefaultAttempts; their growing
	// pauses together are about half a minute.
	Attempts int
	// MaxRetryAfter is the longest wait asked for by Telegram that is obeyed; a longer
	// one is returned as an error. Default: DefaultMaxRetryAfter.
	MaxRetryAfter time.Duration
	// Clock paces and waits. Default: SystemClock.
	Clock Clock
	// Logger is told of waits and repeated calls. Default: none.
	Logger *slog.Logger
}

func (c ClientConfig) withDefaults() ClientConfig {
	if c.BaseURL == "" {
		c.BaseURL = DefaultBaseURL
	}
	if c.ReplyGrace == 0 {
		c.ReplyGrace = DefaultReplyGrace
	}
	if c.Attempts == 0 {
		c.Attempts = DefaultAttempts
	}
	if c.MaxRetryAfter == 0 {
		c.MaxRetryAfter = DefaultMaxRetryAfter
	}
	if c.Clock == nil {
		c.Clock = SystemClock{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// tokenShape is "<bot id>:<secret>".
var tokenShape = regexp.MustCompile(`^[0-9]{1,20}:[A-Za-z0-9_-]{20,100}$`)

func (c ClientConfig) validate() error {
	var errs []error
	if !tokenShape.MatchString(c.Token.Reveal()) {
		errs = append(errs, errors.New("the token is not of the form <bot id>:<secret>"))
	}
	u, err := url.Parse(c.BaseURL)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		errs = append(errs, errors.New("the base URL is not an http or https address"))
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		errs = append(errs, errors.New("the base URL has credentials, a query or a fragment"))
	}
	if c.Attempts < 0 || c.ReplyGrace < 0 || c.MaxRetryAfter < 0 {
		errs = append(errs, errors.New("attempts and timeouts must not be negative"))
	}
	return errors.Join(errs...)
}

// Client speaks the Bot API. It is safe for concurrent use; messages to one chat are sent
// one after another at the service's pace.
type Client struct {
	token         export.Secret
	baseURL       string
	localDir      string
	http          *http.Client
	own           *http.Transport // nil when the caller gave the transport
	replyGrace    time.Duration
	attempts      int
	maxRetryAfter time.Duration
	clock         Clock
	log           *slog.Logger

	mu    sync.Mutex
	lanes map[int64]*lane
	moved map[int64]int64 // groups and the supergroups that they have become
}

// NewClient returns a client. It makes no call. The caller calls Close.
func NewClient(cfg ClientConfig) (*Client, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure telegram client: %w", err)
	}
	c := &Client{
		token: cfg.Token, baseURL: strings.TrimRight(cfg.BaseURL, "/"), localDir: cfg.LocalDir,
		replyGrace: cfg.ReplyGrace, attempts: cfg.Attempts, maxRetryAfter: cfg.MaxRetryAfter,
		clock: cfg.Clock, log: cfg.Logger, lanes: map[int64]*lane{}, moved: map[int64]int64{},
	}
	transport := cfg.Transport
	if transport == nil {
		c.own = newTransport()
		transport = c.own
	}
	if cfg.Around != nil {
		transport = cfg.Around(transport)
	}
	c.http = &http.Client{
		Transport: transport,
		// A redirect would carry the token, which is in the path, to where it points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

func newTransport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // large uploads over HTTP/2 crawl behind its flow control
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		Protocols:           protocols,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 15 * time.Second,
		// An upload that would be refused is refused before 19 MiB were sent; a server
		// that does not know of this gets the body after a second all the same.
		ExpectContinueTimeout: time.Second,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
	}
}

// Close releases idle connections.
func (c *Client) Close() error {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
	return nil
}

// String names the client without its token.
func (c *Client) String() string { return "telegram client of " + c.baseURL }

func (c *Client) laneOf(chat int64) *lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lanes[chat]
	if l == nil {
		l = newLane(c.clock, chat)
		c.lanes[chat] = l
	}
	return l
}

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
