package pgdump

import (
	"fmt"
	"strings"
	"unicode"
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
