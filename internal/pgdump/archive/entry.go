package archive

import (
	"regexp"
	"strings"
)

// Heading is the comment that pg_dump and pg_restore write before the statements of one entry.
type Heading struct {
	Name   string // as the table of contents has it, line breaks replaced: for a trigger "table trigger"
	Kind   string // for instance "TABLE DATA"
	Schema string // empty: none
}

// heading matches the comment. A name that contains "; Type: " is ambiguous: the statement itself says
// what it is about.
var heading = regexp.MustCompile(`(?m)^-- (?:Data for )?Name: (.*); Type: ([A-Z ]+); Schema: (.*); Owner: .*$`)

// HeadingOf returns the heading in the comments before a statement of [Script.Next].
func HeadingOf(statement string) (Heading, bool) {
	for line := range strings.Lines(statement) {
		switch {
		case strings.TrimSpace(line) == "":
		case !strings.HasPrefix(line, "--"):
			return Heading{}, false
		default:
			if m := heading.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
				h := Heading{Name: m[1], Kind: m[2], Schema: m[3]}
				if h.Schema == "-" {
					h.Schema = ""
				}
				return h, true
			}
		}
	}
	return Heading{}, false
}

// Token is a word, a quoted name, or one other character of a statement. Strings, the bodies of
// routines, and comments are left out.
type Token struct {
	Text   string // of a quoted name: without its quotes; of a word: as it is written
	Quoted bool
}

// Is reports whether the token is this keyword or character.
func (t Token) Is(word string) bool { return !t.Quoted && strings.EqualFold(t.Text, word) }

// Tokens returns the tokens of a statement.
func Tokens(statement string) []Token {
	var out []Token
	for s := statement; s != ""; {
		switch c := s[0]; {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			s = s[1:]
		case strings.HasPrefix(s, "--"):
			_, s, _ = strings.Cut(s, "\n")
		case c == '"':
			var name string
			name, s = quotedText(s, '"')
			out = append(out, Token{name, true})
		case c == '\'':
			_, s = quotedText(s, '\'')
		case (c == 'E' || c == 'e') && len(s) > 1 && s[1] == '\'':
			s = afterEscaped(s[1:])
		case c == '$' && dollarTag.MatchString(s):
			tag := dollarTag.FindString(s)
			if _, rest, ended := strings.Cut(s[len(tag):], tag); ended {
				s = rest
			} else {
				s = ""
			}
		case wordByte(c):
			n := 1
			for n < len(s) && (wordByte(s[n]) || s[n] == '$') {
				n++
			}
			out = append(out, Token{s[:n], false})
			s = s[n:]
		default:
			out = append(out, Token{s[:1], false})
			s = s[1:]
		}
	}
	return out
}

var dollarTag = regexp.MustCompile(`^\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$`)

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// quotedText returns the text within the quotes at the beginning of s, and what follows it.
func quotedText(s string, quote byte) (text, rest string) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] != quote:
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == quote:
			b.WriteByte(quote)
			i++
		default:
			return b.String(), s[i+1:]
		}
	}
	return b.String(), ""
}

// afterEscaped returns what follows a string in which a backslash escapes.
func afterEscaped(s string) string {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == '\'' && i+1 < len(s) && s[i+1] == '\'':
			i++
		case s[i] == '\'':
			return s[i+1:]
		}
	}
	return ""
}

// Qualified returns the name of the form schema.name at the beginning of tokens, and what follows it.
// pg_dump qualifies the name of each object that a schema holds.
func Qualified(tokens []Token) (schema, name string, rest []Token, ok bool) {
	if len(tokens) < 3 || !tokens[0].named() || !tokens[1].Is(".") || !tokens[2].named() {
		return "", "", tokens, false
	}
	return tokens[0].Text, tokens[2].Text, tokens[3:], true
}

func (t Token) named() bool { return t.Quoted || t.Text != "" && wordByte(t.Text[0]) }

// After returns the tokens after the first one that is the keyword, outside of parentheses. nil:
// there is none.
func After(tokens []Token, word string) []Token {
	depth := 0
	for i, t := range tokens {
		switch {
		case t.Is("("):
			depth++
		case t.Is(")"):
			depth--
		case depth == 0 && t.Is(word):
			return tokens[i+1:]
		}
	}
	return nil
}
