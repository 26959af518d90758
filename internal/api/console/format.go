package console

import (
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
)

// functions are those of the templates. Those that show text of others make control characters and
// the marks of writing direction visible, and bound its length.
var functions = template.FuncMap{
	"text":  func(s any) string { return shown(s, longText) },
	"short": func(s any) string { return shown(s, shortText) },
	"size":  size,
	"count": func(n any) string { return count(n) },
	"took":  took,
	"stamp": newStamp,
	"path":  pathOf,
	"class": class,
	"word":  word,
}

const (
	shortText = 120  // characters in a row of a table
	longText  = 2000 // characters where the text is what the page is about
)

// shown returns text of others for a page.
func shown(of any, limit int) string {
	s := fmt.Sprint(of)
	whole := utf8.RuneCountInString(s)
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > limit {
			fmt.Fprintf(&b, "… (%s characters)", humanize.Comma(int64(whole)))
			break
		}
		switch {
		case r == '\n' || r == '\t':
			b.WriteByte(' ')
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError || directs(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// directs reports whether r changes the direction of what follows, or has no width.
func directs(r rune) bool {
	return r == 0x061c || r >= 0x200b && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2060 && r <= 0x2069 || r == 0xfeff ||
		r == 0x2028 || r == 0x2029 || r >= 0xe0000 && r <= 0xe007f
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

func count(n any) string {
	switch n := n.(type) {
	case int:
		return humanize.Comma(int64(n))
	case int64:
		return humanize.Comma(n)
	case uint64:
		return humanize.Comma(int64(min(n, 1<<62)))
	}
	return fmt.Sprint(n)
}

// took returns a duration for people.
func took(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "0 s"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 2*day:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d/day))
}

// stamp is a point in time on a page.
type stamp struct{ Machine, UTC, Ago string }

// newStamp returns the stamp of a time.Time or a *time.Time; nil if it is zero.
func newStamp(of any) *stamp {
	var t time.Time
	switch of := of.(type) {
	case time.Time:
		t = of
	case *time.Time:
		if of != nil {
			t = *of
		}
	}
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	s := &stamp{Machine: t.Format(time.RFC3339Nano), UTC: t.Format("2006-01-02 15:04:05 UTC")}
	if d := time.Since(t); d >= 0 {
		s.Ago = coarse(d) + " ago"
	} else {
		s.Ago = "in " + coarse(-d)
	}
	return s
}

// coarse returns a duration in one unit.
func coarse(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 2*day:
		return strconv.Itoa(int(d.Hours())) + " h"
	}
	return strconv.Itoa(int(d/day)) + " days"
}

// pathOf returns the path of a page. The elements are escaped.
func pathOf(elements ...string) string {
	out := make([]string, len(elements))
	for i, e := range elements {
		out[i] = url.PathEscape(e)
	}
	return Prefix + strings.Join(out, "/")
}

// class returns the class of a state for the style sheet.
func class(state any) string {
	switch s := fmt.Sprint(state); s {
	case "completed", "ok", "active", "valid", "kept", "sent", "verified", "stored":
		return "good"
	case "failed", "fault", "unreachable", "damaged", "failing", "missing", "parked":
		return "bad"
	case "running", "deleting", "asked for":
		return "busy"
	case "waiting", "warning", "paused", "notified", "used":
		return "mild"
	}
	return "none"
}

// word returns a code in words.
func word(code any) string { return shown(strings.ReplaceAll(fmt.Sprint(code), "_", " "), shortText) }

// maxParameter bounds a parameter that a form shows again, in characters.
const maxParameter = 500

// parameter returns a parameter without the characters that no name has: a form shows it again.
func parameter(text string) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.TrimSpace(text) {
		if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError || directs(r) {
			continue
		}
		if n++; n > maxParameter {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// joined returns names for a sentence.
func joined(names []string) string {
	names = slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s == "" })
	return strings.Join(names, ", ")
}
