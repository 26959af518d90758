package main

import (
	"cmp"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"

	"github.com/pgcourier/pgcourier/internal/doctor"
	"github.com/pgcourier/pgcourier/internal/export"
)

// screen is where text goes: how wide it is, whether it takes colours, and what time it
// is for whoever reads it.
type screen struct {
	width  int // in columns; 0: not a terminal, nothing is cut
	colour bool
	now    time.Time
}

// screen describes standard output. Colours are for a terminal only, and not for one whose
// user has set NO_COLOR (no-color.org) or that is dumb.
func (a *app) screen() screen {
	s := screen{now: time.Now()}
	f, ok := a.stdout.(*os.File)
	if !ok || !isTerminal(f) {
		return s
	}
	const usual = 80 // of a terminal that does not say
	s.width = usual
	if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
		s.width = w
	}
	s.colour = a.env("NO_COLOR") == "" && a.env("TERM") != "dumb"
	return s
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// env is a variable of the process's environment; the last one of a name counts.
func (a *app) env(name string) string {
	for _, v := range slices.Backward(a.environ) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// column is one of a table.
type column struct {
	title string
	// drop says when the column is left out of a screen that is too narrow: the highest
	// first, 0 never.
	drop int
	// id is never cut while anything else can be: it is what people copy.
	id bool
	// least is how far it is cut before ids are. Default: narrowest.
	least int
}

const narrowest = 8

const gap = 2 // blanks between two columns

// table lays rows out under their columns' titles. On a terminal it fits: columns are left
// out, then the widest is cut again and again, with an ellipsis.
func (s screen) table(columns []column, rows [][]string) string {
	var shownColumns []int
	for i := range columns {
		shownColumns = append(shownColumns, i)
	}
	widths := make([]int, len(columns))
	for i, c := range columns {
		widths[i] = narrow().StringWidth(c.title)
		for _, r := range rows {
			widths[i] = max(widths[i], narrow().StringWidth(r[i]))
		}
	}
	total := func() int {
		n := gap * (len(shownColumns) - 1)
		for _, i := range shownColumns {
			n += widths[i]
		}
		return n
	}
	// What would be left of them: ids whole, the others cut.
	least := func() int {
		n := gap * (len(shownColumns) - 1)
		for _, i := range shownColumns {
			if n += widths[i]; !columns[i].id {
				n -= max(widths[i]-cmp.Or(columns[i].least, narrowest), 0)
			}
		}
		return n
	}
	for s.width > 0 && least() > s.width {
		droppable := slices.DeleteFunc(slices.Clone(shownColumns), func(i int) bool { return columns[i].drop == 0 })
		if len(droppable) == 0 {
			break
		}
		first := slices.MaxFunc(droppable, func(a, b int) int { return cmp.Compare(columns[a].drop, columns[b].drop) })
		shownColumns = slices.DeleteFunc(shownColumns, func(i int) bool { return i == first })
	}
	for s.width > 0 && total() > s.width {
		widest := s.widest(columns, shownColumns, widths)
		if widths[widest] <= 1 {
			break // the screen is narrower than anything can be
		}
		widths[widest]--
	}
	var b strings.Builder
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = c.title
	}
	s.row(&b, shownColumns, widths, titles, true)
	for _, r := range rows {
		s.row(&b, shownColumns, widths, r, false)
	}
	return b.String()
}

// widest is the column to cut next: an id only when all others are narrow.
func (screen) widest(columns []column, shown, widths []int) int {
	best := -1
	for _, i := range shown {
		if !columns[i].id && widths[i] > cmp.Or(columns[i].least, narrowest) && (best < 0 || widths[i] > widths[best]) {
			best = i
		}
	}
	if best >= 0 {
		return best
	}
	for _, i := range shown {
		if columns[i].id && widths[i] > narrowest && (best < 0 || widths[i] > widths[best]) {
			best = i
		}
	}
	if best >= 0 {
		return best
	}
	return slices.MaxFunc(shown, func(a, b int) int { return cmp.Compare(widths[a], widths[b]) })
}

func (s screen) row(b *strings.Builder, shown, widths []int, texts []string, title bool) {
	var line strings.Builder
	for n, i := range shown {
		text := narrow().Truncate(texts[i], widths[i], "…")
		pad := widths[i] - narrow().StringWidth(text) + gap
		if n == len(shown)-1 {
			pad = 0
		}
		if title {
			text = s.paint(bold, text)
		} else {
			text = s.word(text)
		}
		line.WriteString(text + strings.Repeat(" ", pad))
	}
	b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

// pairs lays out names and their values. On a terminal a long value goes on in the next
// line, under itself: it is not cut.
func (s screen) pairs(lines [][]string) string {
	left := 0
	for _, l := range lines {
		left = max(left, narrow().StringWidth(l[0])+gap)
	}
	var b strings.Builder
	for _, l := range lines {
		value := []string{l[1]}
		if room := s.width - left; s.width > 0 && room >= narrowest {
			value = wrap(l[1], room)
		}
		for i, part := range value {
			name := strings.Repeat(" ", left)
			if i == 0 {
				name = narrow().FillRight(l[0], left)
			}
			b.WriteString(strings.TrimRight(name+s.word(part), " ") + "\n")
		}
	}
	return b.String()
}

// wrap breaks text between words, and words that are wider than a line anywhere.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		if next := line + " " + word; line != "" && narrow().StringWidth(next) <= width {
			line = next
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		parts := strings.Split(narrow().Wrap(word, width), "\n")
		lines = append(lines, parts[:len(parts)-1]...)
		line = parts[len(parts)-1]
	}
	return append(lines, line)
}

// narrow counts the columns that text takes, whatever the locale: an ambiguous character,
// such as the ellipsis, is one.
func narrow() *runewidth.Condition { return &runewidth.Condition{} }

// cut is one line of text, cut where the screen ends.
func (s screen) cut(text string) string {
	if s.width > 0 {
		text = narrow().Truncate(text, s.width, "…")
	}
	return strings.TrimRight(text, " ")
}

// paint is a way to set text off: the parameters of the terminal's SGR sequence.
type paint string

const (
	bold   paint = "1"
	red    paint = "31"
	green  paint = "32"
	yellow paint = "33"
)

func (s screen) paint(p paint, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + string(p) + "m" + text + "\x1b[0m"
}

// word paints a cell that is a state, and nothing else.
func (s screen) word(text string) string {
	switch doctor.State(text) {
	case doctor.OK:
		return s.paint(green, text)
	case doctor.Fault, doctor.Unreachable:
		return s.paint(red, text)
	case doctor.Warning:
		return s.paint(yellow, text)
	default: // another kind of state, or not to be set off
	}
	switch export.State(text) {
	case export.Completed:
		return s.paint(green, text)
	case export.Failed:
		return s.paint(red, text)
	case export.Running:
		return s.paint(yellow, text)
	default: // waiting, or no state at all
		return text
	}
}

// age is how long ago something was, in its largest unit: 45s, 12m, 3h, 8d.
func (s screen) age(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return short(max(s.now.Sub(*t), 0))
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
