// Package secret has a string that does not print.
package secret

import (
	"fmt"
	"io"
)

// String holds a password, a token or a DSN. It prints as "***" wherever it is
// formatted, logged or marshalled; only Reveal returns it.
type String string

// String returns "***", or "" for an empty secret.
func (s String) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// Format writes String whatever the verb: %d of a plain string type would print it.
func (s String) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText is String, for JSON and slog.
func (s String) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the secret as it is.
func (s *String) UnmarshalText(b []byte) error {
	*s = String(b)
	return nil
}

// Reveal returns the secret itself.
func (s String) Reveal() string { return string(s) }
