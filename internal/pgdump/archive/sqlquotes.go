package archive

import "bytes"

// escapeEnd says whether an escape string may continue: SQL joins strings that only a line break
// separates, and the second part has the same syntax as the first.
type escapeEnd uint8

const (
	escapeNone   escapeEnd = iota
	escapeClosed           // only white space since an E'...'
	escapeJoins            // and a line break
)

// afterQuote processes the byte after a quote within quotes: a second quote stands for one quote.
func (s *sqlScanner) afterQuote(c byte) (int, error) {
	inside, quote := lexString, byte('\'')
	switch s.state {
	case lexEscapeQuote:
		inside = lexEscape
	case lexQuotedQuote:
		inside, quote = lexQuoted, '"'
	default:
	}
	if c == quote {
		if s.state = inside; inside == lexQuoted {
			s.keep([]byte{quote})
		}
		return 1, nil
	}
	s.state = lexTop
	switch inside {
	case lexEscape:
		s.escapeEnd = escapeClosed
	case lexQuoted:
		return 0, s.identifier(s.text, s.cut, true)
	default:
	}
	return 0, nil
}

// inQuotes processes bytes up to a possible end of the quotes.
func (s *sqlScanner) inQuotes(p []byte) (int, error) {
	var n int
	switch s.state {
	case lexQuoted:
		n = bytes.IndexByte(p, '"')
	case lexString:
		n = bytes.IndexByte(p, '\'')
	default:
		n = bytes.IndexAny(p, `'\`)
	}
	body := p
	if n >= 0 {
		body = p[:n]
	}
	if s.state == lexQuoted {
		s.keep(body)
	}
	if n < 0 {
		return len(p), nil
	}
	switch {
	case s.state == lexQuoted:
		s.state = lexQuotedQuote
	case s.state == lexString:
		s.state = lexStringQuote
	case p[n] == '\\':
		s.state = lexEscapeSlash
	default:
		s.state = lexEscapeQuote
	}
	return n + 1, nil
}

// dollarTag processes the bytes after a dollar sign, until they are the start of a dollar quote or
// cannot be one.
func (s *sqlScanner) dollarTag(p []byte) (int, error) {
	c := p[0]
	switch {
	case c == '$':
		if s.cut {
			return 0, faultLongToken
		}
		s.delimiter = append(append(append(s.delimiter[:0], '$'), s.text...), '$')
		s.state, s.matched = lexDollar, 0
		return 1, nil
	case isWordStart(c) || c >= '0' && c <= '9' && len(s.text) > 0:
		s.keep(p[:1])
		return 1, nil
	default: // a parameter, or a lone dollar and then a word
		s.state = lexNumber
		if len(s.text) > 0 {
			s.state = lexWord
		}
		return 0, nil
	}
}

// inDollar processes bytes of a dollar-quoted string.
func (s *sqlScanner) inDollar(p []byte) int {
	if s.matched == 0 {
		n := bytes.IndexByte(p, '$')
		if n < 0 {
			return len(p)
		}
		s.matched = 1
		return n + 1
	}
	switch p[0] {
	case s.delimiter[s.matched]:
		if s.matched++; s.matched == len(s.delimiter) {
			s.state = lexTop
		}
	case '$':
		s.matched = 1
	default:
		s.matched = 0
	}
	return 1
}
