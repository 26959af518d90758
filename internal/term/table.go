package term

import (
	"cmp"
	"slices"
	"strings"
)

// Column is one column of a [Table].
type Column struct {
	Title string
	// Drop orders the columns that a narrow screen leaves out: the highest first. 0: never.
	Drop int
	// ID marks what people copy. It is cut only when all other columns are at their least.
	ID bool
	// Least is the width below which the column is not cut before the IDs are. Default: 8.
	Least int
}

// Table is text in rows and columns.
type Table struct {
	Columns []Column
	rows    [][]string
}

// Add appends a row, sanitised. It has one cell for each column.
func (t *Table) Add(cells ...string) {
	for i, c := range cells {
		cells[i] = Sanitize(c)
	}
	t.rows = append(t.rows, cells)
}

const (
	narrowest = 8 // default of Column.Least
	gap       = 2 // blanks between two columns
)

// Text lays the table out under its titles. On a terminal it fits: columns are left out, then
// the widest is cut again and again, with an ellipsis.
func (t Table) Text(s Screen) string {
	l := layout{Table: t, widths: make([]int, len(t.Columns))}
	titles := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		l.kept = append(l.kept, i)
		titles[i], l.widths[i] = c.Title, StringWidth(c.Title)
		for _, r := range t.rows {
			l.widths[i] = max(l.widths[i], StringWidth(r[i]))
		}
	}
	if s.Width > 0 {
		l.fit(s.Width)
	}
	var b strings.Builder
	l.row(&b, titles, s.Bold)
	for _, r := range t.rows {
		l.row(&b, r, s.state)
	}
	return b.String()
}

// layout is a table while it is fitted to a screen.
type layout struct {
	Table
	kept   []int // the columns that are shown
	widths []int
}

func (l *layout) fit(width int) {
	for l.least() > width {
		first := -1
		for _, i := range l.kept {
			if d := l.Columns[i].Drop; d > 0 && (first < 0 || d > l.Columns[first].Drop) {
				first = i
			}
		}
		if first < 0 {
			break
		}
		l.kept = slices.DeleteFunc(l.kept, func(i int) bool { return i == first })
	}
	for l.total() > width {
		i := l.widest()
		if l.widths[i] <= 1 {
			return // the screen is narrower than anything can be
		}
		l.widths[i]--
	}
}

func (l *layout) total() int {
	n := gap * (len(l.kept) - 1)
	for _, i := range l.kept {
		n += l.widths[i]
	}
	return n
}

// least is the width with whole IDs and all other columns cut.
func (l *layout) least() int {
	n := l.total()
	for _, i := range l.kept {
		if c := l.Columns[i]; !c.ID {
			n -= max(l.widths[i]-cmp.Or(c.Least, narrowest), 0)
		}
	}
	return n
}

// widest is the column to cut next: an ID only when all others are at their least.
func (l *layout) widest() int {
	for _, ids := range []bool{false, true} {
		best := -1
		for _, i := range l.kept {
			c, least := l.Columns[i], narrowest
			if !ids {
				least = cmp.Or(c.Least, narrowest)
			}
			if c.ID == ids && l.widths[i] > least && (best < 0 || l.widths[i] > l.widths[best]) {
				best = i
			}
		}
		if best >= 0 {
			return best
		}
	}
	return slices.MaxFunc(l.kept, func(a, b int) int { return cmp.Compare(l.widths[a], l.widths[b]) })
}

func (l *layout) row(b *strings.Builder, cells []string, paint func(string) string) {
	var line strings.Builder
	for n, i := range l.kept {
		text := columns().Truncate(cells[i], l.widths[i], "…")
		pad := l.widths[i] - StringWidth(text) + gap
		if n == len(l.kept)-1 {
			pad = 0
		}
		line.WriteString(paint(text) + strings.Repeat(" ", pad))
	}
	b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

// Pairs lays out names and their values, sanitised. On a terminal a long value is not cut: it
// goes on in the next line, under itself.
func (s Screen) Pairs(lines [][2]string) string {
	left := 0
	for _, l := range lines {
		left = max(left, StringWidth(l[0])+gap)
	}
	var b strings.Builder
	for _, l := range lines {
		value := []string{Sanitize(l[1])}
		if room := s.Width - left; s.Width > 0 && room >= narrowest {
			value = wrap(value[0], room)
		}
		for i, part := range value {
			name := strings.Repeat(" ", left)
			if i == 0 {
				name = columns().FillRight(l[0], left)
			}
			b.WriteString(strings.TrimRight(name+s.state(part), " ") + "\n")
		}
	}
	return b.String()
}

// wrap breaks text between words, and words that are wider than a line anywhere.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		if next := line + " " + word; line != "" && StringWidth(next) <= width {
			line = next
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		parts := strings.Split(columns().Wrap(word, width), "\n")
		lines = append(lines, parts[:len(parts)-1]...)
		line = parts[len(parts)-1]
	}
	return append(lines, line)
}
