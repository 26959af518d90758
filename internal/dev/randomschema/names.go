package randomschema

import (
	"fmt"
	"strings"
)

// Ident returns a quoted name.
func Ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// words are names that scripts, parsers and shells could misread.
var words = []string{
	"begin", "end", "atomic", "select", "table", "user", "order", "from", "copy", "commit", "case", "group", "default", "null",
	"true", "public", "none", "all", `\.`, "--", "/*", "*/", "$$", "$1", "';", `\connect x`, "%", "%s", "a.b", "COPY x FROM stdin;",
	"é", "日本", "\u00a0", "\u202e", "🐘", "T", " ", "\n", "\t", "\r\n", `"`, `'`, `\`, "#", "..", "{}", "body", "language", "as",
}

// name returns an unused name for an object. Every fourth one is odd.
func (w *writer) name(base string) string {
	w.number++
	if w.one(12) {
		if n := pick(w, words...); !w.used[n] {
			w.used[n] = true
			return n
		}
	}
	return w.odd(fmt.Sprintf("%s%d", base, w.number))
}

// odd returns an odd name that is as unique as the given one, because it keeps its end.
func (w *writer) odd(name string) string {
	if !w.one(4) {
		return name
	}
	odd := pick(w, words...) + pick(w, "", " ", "_", "\n") + name
	if w.one(4) { // 63 bytes, PostgreSQL's longest
		if n := 63 - len(odd); n > 0 {
			odd = pick(w, "x", "X", "_", " ")[:1] + strings.Repeat("y", n-1) + odd
		}
	}
	if w.one(8) {
		odd += " "
	}
	if len(odd) > 63 {
		return name
	}
	return odd
}

// schema returns one of the case's schemas, quoted.
func (w *writer) schema() string { return Ident(pick(w, w.schemas...)) }

// qualified returns a new qualified name.
func (w *writer) qualified(base string) string { return w.schema() + "." + Ident(w.name(base)) }

// text returns a literal that is hard to parse.
func (w *writer) text() string {
	t := pick(w, "plain", "it's", `back\slash`, "two\nlines", "\\.\n\\.", "$$", "-- comment", "/* open", "tab\there", "日本語 🐘",
		"COPY a (b) FROM stdin;\n1\n\\.\n", `\restrict x`, "end; $_$ BEGIN ATOMIC", "", "\u202e")
	return "'" + strings.ReplaceAll(t, "'", "''") + "'"
}
