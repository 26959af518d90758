package term

import "fmt"

// The limits of what a terminal's screen shows of an export's warnings, which name every object.
const (
	shownWarnings = 10
	shownWarning  = 300 // characters of each
)

// Warnings are the lines for an export's warnings. On a terminal long ones and many of them are
// cut, which is said; elsewhere they are whole.
func (s Screen) Warnings(warnings []string) [][2]string {
	const rest = "--output json shows all"
	var out [][2]string
	for i, w := range warnings {
		if s.Width > 0 && i == shownWarnings {
			return append(out, [2]string{"warning", fmt.Sprintf("and %d more: %s", len(warnings)-i, rest)})
		}
		if text := []rune(w); s.Width > 0 && len(text) > shownWarning {
			w = string(text[:shownWarning]) + "… (cut: " + rest + ")"
		}
		out = append(out, [2]string{"warning", w})
	}
	return out
}
