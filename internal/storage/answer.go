package storage

import (
	"regexp"
	"strings"
	"unicode"
)

// Answer is an error that a destination's server answered, classed and in words for people.
type Answer struct {
	// Kind is one of this package's sentinels.
	Kind error
	// What says what is wrong: "the storage refuses the worker's credentials".
	What string
	// Advice says what an operator can do. Empty: nothing that is known.
	Advice string
	// Said are the server's own words, made safe by Words. Empty: there were none.
	Said string
	// Err is the error that the answer was read from.
	Err error
}

// Error is what goes into logs: everything, advice included.
func (a *Answer) Error() string {
	s := a.Message()
	if a.Advice != "" {
		s += " (" + a.Advice + ")"
	}
	return s
}

// Message is what goes into the outcome: what is wrong and the server's words.
func (a *Answer) Message() string {
	if a.Said == "" {
		return a.What
	}
	return a.What + ": the server says: " + a.Said
}

// Unwrap returns the sentinel and the cause.
func (a *Answer) Unwrap() []error { return []error{a.Kind, a.Err} }

// maxWords bounds a server's words in characters.
const maxWords = 240

var (
	tags = regexp.MustCompile(`(?s)<(style|script|head\b)[^>]*>.*?</(style|script|head)>|<[^>]*>`)
	// title is looked for in pages before their tags are taken away.
	title = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)
	// secretive matches what may be a key, a token, a signature or an account in a server's words:
	// key ids of AWS, long runs of base64 or hexadecimal digits, what is said to be a secret.
	secretive = regexp.MustCompile(`\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{4,}\b|[A-Za-z0-9+/_=-]{32,}|(?i:(?:secret|token|password|signature|credential)\s*[=:]\s*\S+)`)
	// paths matches absolute paths: a server's own folders.
	paths = regexp.MustCompile(`(^|[\s'"(=])/(?:[\w.@-]+/)+[\w.@-]*`)
	// accounts matches the names of users and roles, which hold the number of the account.
	accounts = regexp.MustCompile(`\barn:[\w-]+:[^\s"']+`)
)

// Words makes a server's words fit to be shown and kept: a page becomes its title, and what may be
// a secret, an account or a server's path is masked. hidden is masked as it is. The result is one
// line of printable text.
func Words(said string, hidden ...string) string {
	for _, h := range hidden {
		if h != "" {
			said = strings.ReplaceAll(said, h, "***")
		}
	}
	if t := title.FindStringSubmatch(said); t != nil {
		said = t[1]
	}
	said = tags.ReplaceAllString(said, " ")
	said = secretive.ReplaceAllString(said, "***")
	said = accounts.ReplaceAllString(said, "arn:***")
	said = paths.ReplaceAllString(said, "$1***")
	said = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(said, " "))
	said = strings.Join(strings.Fields(said), " ")
	if runes := []rune(said); len(runes) > maxWords {
		said = string(runes[:maxWords-1]) + "…"
	}
	return said
}
