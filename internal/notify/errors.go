package notify

import (
	"errors"
	"strings"
	"time"
	"unicode"
)

var (
	// ErrConflict says that another process has changed the record meanwhile.
	ErrConflict = errors.New("the record was changed meanwhile")
	// ErrNotFound says that there is no record, or no event, of that name.
	ErrNotFound = errors.New("not found")
	// ErrSent says that the notification was delivered, so there is nothing to replay.
	ErrSent = errors.New("the notification was delivered")
)

// PermanentError says that trying again without a change cannot help.
type PermanentError struct {
	Reason string // for a human
	Err    error  // what lies beneath it, or nil
}

func (e *PermanentError) Error() string {
	if e.Err == nil {
		return e.Reason
	}
	return e.Reason + ": " + e.Err.Error()
}

// Unwrap returns what lies beneath.
func (e *PermanentError) Unwrap() error { return e.Err }

// DelayError says that the other side asked not to be tried again before some time.
type DelayError struct {
	After time.Duration
	Err   error
}

func (e *DelayError) Error() string { return e.Err.Error() }

// Unwrap returns why the try failed.
func (e *DelayError) Unwrap() error { return e.Err }

// maxCause bounds what is kept of an error, in characters.
const maxCause = 500

// cause makes an error fit for a record: one line of bounded length.
func cause(err error) string {
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(err.Error(), "\uFFFD"))
	if runes := []rune(text); len(runes) > maxCause {
		return string(runes[:maxCause-1]) + "…"
	}
	return text
}
