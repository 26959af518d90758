package pgdump

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// listed is how many names a message holds.
const listed = 5

// printable makes a name of the source's safe to show: a hostile one may hold terminal
// codes, line breaks or marks that turn the direction of text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// showName is a qualified name for a message.
func showName(schema, name string) string {
	return printable(quotePattern(schema) + "." + quotePattern(name))
}

// showList joins the first names and says how many more there are.
func showList(names []string) string {
	if len(names) > listed {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:listed], ", "), len(names)-listed)
	}
	return strings.Join(names, ", ")
}

// lineLimit is how many characters of a warning an event holds.
const lineLimit = 1000

// lines are warnings with all names, none longer than lineLimit unless a name is.
func lines(text string, names []string) []string {
	var out []string
	for _, name := range names {
		if n := len(out); n > 0 && utf8.RuneCountInString(out[n-1])+utf8.RuneCountInString(name)+2 <= lineLimit {
			out[n-1] += ", " + name
			continue
		}
		out = append(out, text+": "+name)
	}
	return out
}
