package events

import "strings"

// Table is a table's name, taken apart.
type Table struct{ Schema, Name string }

// SplitTable takes an element of RestoreRequested.Tables apart. Of a text that breaks the contract it
// returns anything.
func SplitTable(qualified string) Table {
	schema, rest := splitName(qualified)
	name, _ := splitName(strings.TrimPrefix(rest, "."))
	return Table{Schema: schema, Name: name}
}

// splitName returns the name at the start of s, without its quotes, and what follows it.
func splitName(s string) (name, rest string) {
	quoted, ok := strings.CutPrefix(s, `"`)
	if !ok {
		name, rest, found := strings.Cut(s, ".")
		if found {
			rest = "." + rest
		}
		return name, rest
	}
	for i := 0; i < len(quoted); i++ {
		if quoted[i] != '"' {
			continue
		}
		if i+1 < len(quoted) && quoted[i+1] == '"' {
			i++
			continue
		}
		return strings.ReplaceAll(quoted[:i], `""`, `"`), quoted[i+1:]
	}
	return strings.ReplaceAll(quoted, `""`, `"`), ""
}
