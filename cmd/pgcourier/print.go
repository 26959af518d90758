package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

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
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
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
