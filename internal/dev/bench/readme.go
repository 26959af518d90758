package main

import (
	"errors"
	"strings"
)

// headline is the README's table: the targets that the page tells of, word for word, so
// that the README holds no figure that was not measured.
func headline(page string) string {
	t := table{head: []string{"target", "promised", "measured", ""}}
	text := t.markdown()
	found := false
	for line := range strings.Lines(page) {
		for _, verdict := range []string{"met", "missed", "not measured"} {
			if strings.HasSuffix(line, "| **"+verdict+"** |\n") {
				text, found = text+line, true
			}
		}
	}
	if !found {
		return "No run is kept yet.\n"
	}
	return text
}

// withHeadline puts the table in its place in the README.
func withHeadline(readme, page string) (string, error) {
	const begin, end = "<!-- benchmarks -->\n", "<!-- /benchmarks -->"
	before, rest, ok := strings.Cut(readme, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return "", errors.New("README.md lacks the part benchmarks")
	}
	return before + begin + headline(page) + end + after, nil
}
