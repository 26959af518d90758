package notify

import (
	"errors"
	"strings"
	"time"
	"unicode"
)

var (
	// ErrConflict says that another process changed the record in between.
	ErrConflict = errors.New("the record was changed meanwhile")
	// ErrNotFound says that no record, or no event, has that name.
	ErrNotFound = errors.New("not found")
	// ErrSent says that the notification was delivered, so there is nothing to replay.
	ErrSent = errors.New("the notification was delivered")
)

// PermanentError says that a retry without a change cannot help.
type PermanentError struct {
	Reason string // for a human
	Err    error  // the cause, or nil
}

func (e *PermanentError) Error() string {
	if e.Err == nil {
		return e.Reason
	}
	return e.Reason + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *PermanentError) Unwrap() error { return e.Err }

// DelayError says that the receiver asked for no attempt before some time.
type DelayError struct {
	After time.Duration
	Err   error
}

func (e *DelayError) Error() string { return e.Err.Error() }

// Unwrap returns the cause of the failed attempt.
func (e *DelayError) Unwrap() error { return e.Err }

// maxCause bounds the text of an error in a record, in characters.
const maxCause = 500

// cause returns the text of an error for a record: one line of bounded length.
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
