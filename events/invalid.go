package events

import (
	"strconv"
	"unicode/utf8"
)

// InvalidError says that a message or a value breaks the contract. Its text is safe to show to any
// client: it names the rule and never repeats the offending value.
type InvalidError struct {
	// Field is where: a JSON field such as "schemas[2]", a header such as "ce-type",
	// "subject", or "body" for the whole. A name taken from the input is quoted,
	// escaped and cut.
	Field string
	// Reason is the rule, for instance "is missing".
	Reason string
}

// Error is "invalid <field>: <reason>".
func (e *InvalidError) Error() string { return "invalid " + e.Field + ": " + e.Reason }

func invalid(field, reason string) *InvalidError {
	return &InvalidError{Field: field, Reason: reason}
}

// maxExcerpt is how many bytes of a foreign name an error shows.
const maxExcerpt = 40

// safeName returns a field's name as it may stand in an error: unchanged when it is a
// plain word, else quoted, escaped to ASCII and cut.
func safeName(name string) string {
	if len(name) <= 64 && ValidRequest(name) {
		return name
	}
	cut := ""
	if len(name) > maxExcerpt {
		name, cut = name[:maxExcerpt], "..."
		for !utf8.ValidString(name) && len(name) > maxExcerpt-utf8.UTFMax {
			name = name[:len(name)-1]
		}
	}
	return strconv.QuoteToASCII(name) + cut
}
