package pgdump

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// listed is the most names in a message.
const listed = 5

// printable makes a name of the source safe to print. A hostile name may contain terminal codes, line
// breaks or marks that change the direction of text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// showName returns a qualified name for a message.
func showName(schema, name string) string {
	return printable(quotePattern(schema) + "." + quotePattern(name))
}

// showList joins the first names and adds the number of the others.
func showList(names []string) string {
	if len(names) > listed {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:listed], ", "), len(names)-listed)
	}
	return strings.Join(names, ", ")
}

// lineLimit is the most characters of a warning in an event.
const lineLimit = 1000

// lines returns warnings that together have all names. None is longer than lineLimit, unless one name
// is.
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
