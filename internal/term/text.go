package term

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
)

// Sanitize makes text from outside safe for a terminal: control characters, direction marks
// and invisible characters are escaped as in a Go string. Sanitised text stays as it is.
func Sanitize(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		q := fmt.Sprintf("%+q", r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}

// SanitizeLines is Sanitize for a text of several lines.
func SanitizeLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = Sanitize(line)
	}
	return strings.Join(lines, "\n")
}

// Size returns a number of bytes in binary units: "1.5 GiB". Less than 0 counts as 0.
func Size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// TimeForm is the form of [Time]. In a table its column needs this width.
const TimeForm = "2006-01-02 15:04:05Z"

// Time returns t in UTC. nil is "-".
func Time(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return t.UTC().Format(TimeForm)
}

// Duration returns d to the hundredth of a second. Not known is "-".
func Duration(d time.Duration, known bool) string {
	if !known {
		return "-"
	}
	return d.Round(10 * time.Millisecond).String()
}

// WriteJSON writes v to w, indented.
func WriteJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(escape(b), '\n'))
	return err
}

// WriteJSONLine writes v to w in one line.
func WriteJSONLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(escape(b), '\n'))
	return err
}

// escape writes as \u escapes what encoding/json leaves as it is and a terminal would obey,
// hide or reorder: C1 control characters, direction marks, invisible characters. In JSON they
// stand in strings only, where the escape means the same.
func escape(b []byte) []byte {
	hidden := func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
	if !bytes.ContainsFunc(b, hidden) {
		return b
	}
	out := make([]byte, 0, len(b)+16)
	for _, r := range string(b) {
		if !hidden(r) {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			out = fmt.Appendf(out, `\u%04x`, unit)
		}
	}
	return out
}
