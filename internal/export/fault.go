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

// TurnError says that another request of the same project runs, so it is not this request's turn.
// Nothing was recorded and no attempt was used. The request must be tried again after Wait.
type TurnError struct{ Wait time.Duration }

func (e *TurnError) Error() string {
	return "another request of the project runs, ask again in " + e.Wait.String()
}

// AsFault returns the Fault in err's chain, or err wrapped as InternalError.
func AsFault(err error) *Fault {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	return &Fault{Code: codes.InternalError, Message: "unexpected error: see the worker's log", Err: err}
}

var (
	// ErrSuperseded says that this attempt no longer owns its request: another attempt does, or the
	// request has ended. The attempt must delete what it stored and settle nothing.
	ErrSuperseded = errors.New("attempt superseded")
	// ErrUnavailable marks a transient outage of one of our own systems. The result of the call is
	// unknown, and repeating it is safe. Retry repeats on this error.
	ErrUnavailable = errors.New("unavailable")
	// ErrLedgerUnavailable says that the control plane's database is unreachable.
	ErrLedgerUnavailable = fmt.Errorf("ledger %w", ErrUnavailable)
)
