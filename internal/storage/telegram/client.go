package telegram

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/pgcourier/pgcourier/internal/export"
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
