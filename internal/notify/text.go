package notify

import (
	"strconv"
	"strings"
)

// Text returns the summary as a short plain text of at most limit, as size counts it.
func (s Summary) Text(limit int, size func(string) int) string {
	var b strings.Builder
	b.WriteString(s.Headline + "\n")
	for _, f := range s.Facts {
		switch f.Name {
		case "project", "sha256", "schemas", "form":
			continue // a short message
		}
		b.WriteString("\n" + f.Name + ": " + f.Value)
	}
	for _, l := range s.Locations {
		b.WriteString("\nat: " + l)
	}
	if len(s.Warnings) > 0 {
		b.WriteString("\nwarnings: " + strconv.Itoa(len(s.Warnings)))
	}
	return Shorten(b.String(), limit, size)
}

// Shorten cuts text to at most limit, as size counts it. size must not shrink when text grows.
func Shorten(text string, limit int, size func(string) int) string {
	if size(text) <= limit {
		return text
	}
	runes := []rune(text)
	low, high := 0, len(runes)
	for low < high { // search for the most runes that fit together with the mark of the cut
		if middle := (low + high + 1) / 2; size(string(runes[:middle])+"…") <= limit {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return string(runes[:low]) + "…"
}
