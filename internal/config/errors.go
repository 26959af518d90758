package config

import "fmt"

// Error is a fault of a setting or a flag. Trying again does not help: the operator must
// correct what the text names. Commands end with the exit code for wrong usage.
type Error struct{ err error }

func (e *Error) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.err }

// Errorf returns an Error with the text of fmt.Errorf.
func Errorf(format string, args ...any) error { return &Error{fmt.Errorf(format, args...)} }

// AsError makes err an Error. nil stays nil.
func AsError(err error) error {
	if err == nil {
		return nil
	}
	return &Error{err}
}
