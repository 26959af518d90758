package export

import (
	"errors"
	"fmt"
	"time"

	"github.com/pgcourier/pgcourier/events/codes"
)

// Fault is a failure in the contract's words. Message is safe to show to any user: no secret, no
// DSN, no server path. Err is the cause, for the log only.
type Fault struct {
	Code    codes.Code
	Message string
	Err     error
}

func (f *Fault) Error() string {
	if f.Err == nil {
		return string(f.Code) + ": " + f.Message
	}
	return string(f.Code) + ": " + f.Message + ": " + f.Err.Error()
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// TurnError says that it is not a request's turn yet: another one of its project runs.
// Nothing was recorded and no attempt used. It is to be asked again after Wait.
type TurnError struct{ Wait time.Duration }

func (e *TurnError) Error() string {
	return "another request of the project runs, ask again in " + e.Wait.String()
}

// AsFault returns the Fault in err's chain, or err wrapped as InternalError.
func AsFault(err error) *Fault {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	return &Fault{Code: codes.InternalError, Message: "the worker met an unexpected error", Err: err}
}

var (
	// ErrSuperseded says that this attempt no longer owns its request: another one
	// does, or it ended. The attempt must delete what it stored and settle nothing.
	ErrSuperseded = errors.New("attempt superseded")
	// ErrUnavailable marks an outage of something of our own, which passes by itself. The
	// outcome of the call is unknown; calling again is safe. Retry goes on while it meets it.
	ErrUnavailable = errors.New("unavailable")
	// ErrLedgerUnavailable says that the control plane's database cannot be reached now.
	ErrLedgerUnavailable = fmt.Errorf("ledger %w", ErrUnavailable)
)
