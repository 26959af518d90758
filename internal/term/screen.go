package term

import (
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
)

// Screen is where text is shown. Its zero value is a pipe.
type Screen struct {
	// Width is the number of columns. 0: not a terminal, nothing is cut.
	Width int
	// Colour says that the terminal takes SGR sequences.
	Colour bool
	// Now is the time from which ages are counted.
	Now time.Time
}

// Open describes the output w. Colours are for terminals only, and for none with NO_COLOR set
// (no-color.org) or TERM=dumb in environ.
func Open(w io.Writer, environ []string) Screen {
	s := Screen{Now: time.Now()}
	if !IsTerminal(w) {
		return s
	}
	const usual = 80 // of a terminal that does not tell its size
	s.Width = usual
	if width, _, err := term.GetSize(int(w.(*os.File).Fd())); err == nil && width > 0 {
		s.Width = width
	}
	s.Colour = variable(environ, "NO_COLOR") == "" && variable(environ, "TERM") != "dumb"
	return s
}

// IsTerminal reports whether stream, an [io.Reader] or [io.Writer], is a terminal.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// variable returns a variable of an environment. The last one of a name counts.
func variable(environ []string, name string) string {
	for _, v := range slices.Backward(environ) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// columns measures text independently of the locale: an ambiguous character, such as the
// ellipsis, takes one column.
func columns() *runewidth.Condition { return &runewidth.Condition{} }

// StringWidth returns how many columns text takes.
func StringWidth(text string) int { return columns().StringWidth(text) }

// Cut shortens one line of text to the width of the screen, with an ellipsis.
func (s Screen) Cut(text string) string {
	if s.Width > 0 {
		text = columns().Truncate(text, s.Width, "…")
	}
	return strings.TrimRight(text, " ")
}

// The parameters of the terminal's SGR sequences.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

// colourOf gives the states of exports and of doctor's findings their colours.
var colourOf = map[string]string{
	"completed": green, "failed": red, "running": yellow,
	"ok": green, "fault": red, "unreachable": red, "warning": yellow,
}

func (s Screen) paint(parameter, text string) string {
	if !s.Colour || parameter == "" || text == "" {
		return text
	}
	return "\x1b[" + parameter + "m" + text + "\x1b[0m"
}

// Bold sets a title off.
func (s Screen) Bold(text string) string { return s.paint(bold, text) }

// state colours text that is the name of a state, and leaves other text as it is.
func (s Screen) state(text string) string { return s.paint(colourOf[text], text) }

// Age returns how long ago t was, in its largest unit: 45s, 12m, 3h, 8d. nil is "-".
func (s Screen) Age(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return short(max(s.Now.Sub(*t), 0))
}

func short(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 2*time.Minute:
		return d.Truncate(time.Second).String()
	case d < 2*time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
	case d < 2*day:
		return strings.TrimSuffix(d.Truncate(time.Hour).String(), "0m0s")
	}
	return strconv.FormatInt(int64(d/day), 10) + "d"
}
