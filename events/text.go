package events

import (
	"fmt"
	"strings"
	"unicode"
)

// Limits of free text that workers write, the same as in the schemas. Text that is too long is cut
// and not refused, so that it cannot prevent the publication of an outcome.
const (
	maxText      = 1000 // characters of a failure's message and of one warning
	maxWarnings  = 100
	maxVersion   = 100
	maxTable     = 200
	maxUserAgent = 200
	maxCaller    = 200 // of the user or token
)

// oneLine makes s valid UTF-8 without control characters, of at most limit characters.
func oneLine(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if runes := []rune(s); len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return s
}

// cutWarnings drops empty warnings and keeps the first ones within the limits. The last one then
// says how many are left out.
func cutWarnings(in []string) []string {
	var out []string
	for _, w := range in {
		if w = oneLine(w, maxText); w != "" {
			out = append(out, w)
		}
	}
	if more := len(out) - maxWarnings; more > 0 {
		out = append(out[:maxWarnings-1], fmt.Sprintf("and %d more warnings, which the export's manifest holds", more+1))
	}
	return out
}
