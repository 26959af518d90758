package main

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

// print writes a result to standard output: v as JSON, or its text.
func (a *app) print(v any, text string) error {
	if a.output == "json" {
		return writeJSON(a.stdout, v)
	}
	_, err := io.WriteString(a.stdout, text)
	return err
}

func writeJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(plainJSON(b), '\n'))
	return err
}

// writeJSONLine is writeJSON in one line.
func writeJSONLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(plainJSON(b), '\n'))
	return err
}

// plainJSON escapes what encoding/json leaves as it is and a terminal might obey or show
// in another order: control characters of C1, direction marks, invisible characters. Such
// stand in strings only, and mean the same there when escaped.
func plainJSON(b []byte) []byte {
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

// shown makes text from elsewhere safe for a terminal: control characters, among them the
// escapes that move a cursor or fake a line, are shown and not obeyed.
func shown(s string) string {
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

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// clockForm is how times are shown; cut, one says nothing.
const clockForm = "2006-01-02 15:04:05Z"

func clock(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return t.UTC().Format(clockForm)
}
