package telegram

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// errStalled says that a transfer moved no byte for StallTimeout.
var errStalled = errors.New("transfer stalled")

// APIError is an answer of the Bot API that is not a success.
type APIError struct {
	Method string // the call, for instance "sendDocument"
	Code   int    // HTTP status, which is the API's error_code
	// Description is Telegram's own words, or the status' text where a proxy answered
	// with a page. The token is masked in it.
	Description string
	// RetryAfter is how long Telegram asks to wait; 0 when it does not.
	RetryAfter time.Duration
	// MigrateTo is the id of the supergroup that a group became; else 0.
	MigrateTo int64
}

func (e *APIError) Error() string {
	s := fmt.Sprintf("telegram %s: %d %s", e.Method, e.Code, e.Description)
	if e.MigrateTo != 0 {
		s += fmt.Sprintf(" (the chat is now %d)", e.MigrateTo)
	}
	return s
}

// Transient reports whether the same call can succeed later: 429 and each 5xx.
func (e *APIError) Transient() bool {
	return e.Code == http.StatusTooManyRequests || e.Code >= http.StatusInternalServerError
}

// Reason is what an APIError means to a caller.
type Reason int

// The reasons a caller acts on.
const (
	Unclassified     Reason = iota
	Unauthorized            // the token is wrong or was revoked
	ChatNotFound            // no such chat, or the bot was never in it
	Forbidden               // the bot was removed, blocked, or lacks a right
	ChatMigrated            // the group became a supergroup with another id
	TooLarge                // the upload is above the server's limit
	TooLargeToFetch         // the file is above the limit of getFile
	FileUnavailable         // the file id is another bot's, or is gone for the moment
	MessageNotFound         // the message does not exist (any more)
	DeleteRefused           // the message is too old to be deleted, or is another's
	EditRefused             // the message is another's, or cannot be edited
	ContentProtected        // the chat forbids forwarding
	TopicClosed             // the forum's topic is closed, deleted, or was never there
	Unchanged               // the edit would change nothing
)

// Telegram gives no code finer than the HTTP status: the descriptions below are the only
// way to tell these apart. They are the Bot API server's own constants, compared in lower
// case and as fragments, since wording before and after them has changed over the years.
var reasons = []struct {
	fragment string
	reason   Reason
}{
	{"chat not found", ChatNotFound},
	{"upgraded to a supergroup", ChatMigrated},
	{"file is too big", TooLargeToFetch},
	{"too large", TooLarge},
	{"wrong file_id", FileUnavailable},
	{"wrong file identifier", FileUnavailable},
	{"temporarily unavailable", FileUnavailable},
	{"message to delete not found", MessageNotFound},
	{"message to edit not found", MessageNotFound},
	{"message to forward not found", MessageNotFound},
	{"message to pin not found", MessageNotFound},
	{"message_id_invalid", MessageNotFound},
	{"message can't be deleted", DeleteRefused},
	{"message can't be edited", EditRefused},
	{"message can't be forwarded", ContentProtected},
	{"protected content", ContentProtected},
	{"topic_closed", TopicClosed},
	{"topic_deleted", TopicClosed},
	{"message thread not found", TopicClosed},
	{"write_forbidden", Forbidden},
	{"docs_forbidden", Forbidden},
	{"peer_id_invalid", ChatNotFound},
	{"message is not modified", Unchanged},
	{"not enough rights", Forbidden},
	{"have no rights", Forbidden},
	{"need administrator rights", Forbidden},
}

// Reason classifies e.
func (e *APIError) Reason() Reason {
	if e.Method == methodDownload && e.Code == http.StatusNotFound {
		return FileUnavailable // the path's hour is over
	}
	switch e.Code {
	case http.StatusUnauthorized, http.StatusNotFound:
		// A token that is not even shaped like one is answered with 404.
		return Unauthorized
	case http.StatusForbidden:
		return Forbidden
	case http.StatusRequestEntityTooLarge:
		return TooLarge
	case http.StatusBadRequest:
		text := strings.ToLower(e.Description)
		for _, r := range reasons {
			if strings.Contains(text, r.fragment) {
				return r.reason
			}
		}
	}
	return Unclassified
}

// reasonOf returns the Reason of the APIError in err's chain, else Unclassified.
func reasonOf(err error) Reason {
	if e, ok := errors.AsType[*APIError](err); ok {
		return e.Reason()
	}
	return Unclassified
}

// TransportError says that a call got no answer. Its text holds no token. Its chain holds
// only plain causes (a system error, a timeout, an end of file): net/http's own errors carry
// the URL, and the token is part of the URL. Contexts' errors are not among them, since
// net/http gives its own timeouts the same names.
type TransportError struct {
	Method string // the call, for instance "sendDocument"
	text   string
	causes []error
}

func (e *TransportError) Error() string { return "telegram " + e.Method + ": " + e.text }

// Unwrap returns the plain causes.
func (e *TransportError) Unwrap() []error { return e.causes }

func (c *Client) transportError(method string, err error) *TransportError {
	var causes []error
	for _, known := range []error{
		errStalled, os.ErrDeadlineExceeded, io.EOF, io.ErrUnexpectedEOF,
	} {
		if errors.Is(err, known) {
			causes = append(causes, known)
		}
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		causes = append(causes, errno)
	}
	text := err
	if u, ok := errors.AsType[*url.Error](err); ok {
		text = u.Err
	}
	return &TransportError{Method: method, text: c.mask(text.Error()), causes: causes}
}

// ended returns why ctx ended: its error, and its cause where that says more.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// maxText bounds what is kept of a foreign text, in bytes: Telegram's own descriptions are
// under 100.
const maxText = 300

// mask makes a foreign text fit to be shown: no token, no control characters, bounded.
func (c *Client) mask(s string) string {
	token := c.token.Reveal()
	_, secret, _ := strings.Cut(token, ":")
	for _, t := range []string{token, url.PathEscape(token), url.QueryEscape(token), secret} {
		s = strings.ReplaceAll(s, t, "***")
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "..."
	}
	return s
}
