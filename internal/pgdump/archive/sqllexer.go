package archive

import "bytes"

// lexState is the position of the next byte in the syntax of a script. The rules are those of psql,
// which reads the script back.
type lexState uint8

const (
	lexTop         lexState = iota
	lexWord                 // an identifier without quotes, or a keyword
	lexNumber               // digits and what may follow them
	lexDash                 // one dash: a comment follows another
	lexLine                 // a comment to the line's end
	lexSlash                // one slash: a comment follows a star
	lexBlock                // a comment that may hold others
	lexString               // '...'
	lexStringQuote          // a quote in a string: its end, or the first of two
	lexEscape               // E'...'
	lexEscapeSlash          // after a backslash in it
	lexEscapeQuote          // a quote in it
	lexQuoted               // "..."
	lexQuotedQuote          // a quote in it
	lexDollarTag            // $tag as far as it was read
	lexDollar               // in a dollar-quoted string
	lexMeta                 // a psql meta-command, to the line's end
	lexCopyLine             // between "FROM stdin;" and the line's end
	lexCopy                 // a table's rows
)

const (
	faultTopNUL    fault = "a NUL byte"
	faultMeta      fault = "a psql meta-command"
	faultLongToken fault = "a dollar-quote's tag or a meta-command longer than any of pg_dump"
	faultCopyLine  fault = "text between a COPY statement and its rows"
)

// sqlScanner checks pg_dump's scripts. This file is the lexer; sqlstatement.go checks statements
// and the end of the script.
type sqlScanner struct {
	state     lexState
	lineEmpty bool // no byte but the line break on this line yet
	depth     int  // of nested comments
	star      byte // the byte before, in a nested comment
	text      []byte
	cut       bool // text is not all of the token

	delimiter []byte // of the dollar quote: $tag$
	matched   int    // bytes of it that matched so far
	escapeEnd escapeEnd

	// names allows a script that psql cannot read as it is: in a routine, begin in small letters is a
	// name. nameBegin says that the last word was such a name.
	names, nameBegin bool

	sqlStatement
	rows copyScanner
}

func newSQLScanner(t *tally) *sqlScanner {
	return &sqlScanner{lineEmpty: true, sqlStatement: sqlStatement{tally: t}}
}

func (s *sqlScanner) scan(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := s.step(p[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// step processes some bytes, or changes the state and processes none.
func (s *sqlScanner) step(p []byte) (int, error) {
	switch s.state {
	case lexTop:
		return s.top(p)
	case lexCopy:
		n, err := s.rows.scan(p)
		if s.rows.done && err == nil {
			s.state, s.lineEmpty = lexTop, true
			s.tally.end(s.rows.rows)
		}
		return n, err
	case lexWord:
		n := wordEnd(p)
		s.keep(p[:n])
		if n < len(p) {
			s.state = lexTop
			return n, s.word(p[n])
		}
		return n, nil
	case lexNumber:
		n := numberEnd(p)
		if n == 0 {
			s.state = lexTop
		}
		return n, nil
	case lexLine, lexMeta:
		return s.line(p)
	case lexString, lexEscape, lexQuoted:
		return s.inQuotes(p)
	case lexDollar:
		return s.inDollar(p), nil
	case lexDollarTag:
		return s.dollarTag(p)
	default:
		return s.single(p[0])
	}
}

// keep appends to the current token, up to its limit.
func (s *sqlScanner) keep(b []byte) {
	n := min(len(b), maxName-len(s.text))
	s.text = append(s.text, b[:n]...)
	s.cut = s.cut || n < len(b)
}

// begin starts a token and keeps its text.
func (s *sqlScanner) begin(state lexState) {
	s.state, s.text, s.cut = state, s.text[:0], false
}

// top processes one byte outside of all quotes and comments.
func (s *sqlScanner) top(p []byte) (int, error) {
	c := p[0]
	empty := s.lineEmpty
	joins := s.escapeEnd
	s.lineEmpty = false
	switch {
	case c == '\n':
		s.lineEmpty = true
		if joins == escapeClosed {
			s.escapeEnd = escapeJoins
		}
		if empty {
			s.blankLine()
		}
		return 1, nil
	case isSpace(c):
		return 1, nil
	case c == '-':
		s.state, s.comment.atStart = lexDash, empty
		return 1, nil
	case c == 0:
		return 0, faultTopNUL
	case c == '\\':
		if !empty || s.open() {
			return 0, faultMeta
		}
		s.begin(lexMeta)
		return 1, nil
	}
	s.escapeEnd = escapeNone
	switch {
	case isWordStart(c):
		s.begin(lexWord)
		return 0, nil
	case c >= '0' && c <= '9':
		s.state = lexNumber
		return 0, s.other()
	case c == '/':
		s.state = lexSlash
	case c == '\'':
		s.state = lexString
		if s.stdOff || joins == escapeJoins {
			s.state = lexEscape
		}
		return 1, s.other()
	case c == '"':
		s.begin(lexQuoted)
	case c == '$':
		s.begin(lexDollarTag)
		return 1, s.other()
	default:
		err := s.symbol(c)
		if s.rowsNext {
			s.rowsNext, s.state = false, lexCopyLine
		}
		return 1, err
	}
	return 1, nil
}

// word ends an identifier or keyword; next is the byte after it.
func (s *sqlScanner) word(next byte) error {
	if next == '\'' && len(s.text) == 1 && s.text[0]|0x20 == 'e' {
		// As if next were the second of two quotes: the string continues after it.
		s.state = lexEscapeQuote
		return s.other()
	}
	s.nameBegin = s.names && isRoutine(s.routine) && string(s.text) == "begin"
	return s.identifier(s.text, s.cut, s.nameBegin)
}

// single processes one byte in the states in which each byte decides.
func (s *sqlScanner) single(c byte) (int, error) {
	switch s.state {
	case lexDash:
		if c == '-' {
			s.begin(lexLine)
			return 1, nil
		}
		s.state, s.escapeEnd = lexTop, escapeNone
		return 0, s.symbol('-')
	case lexSlash:
		if c == '*' {
			s.state, s.depth, s.star = lexBlock, 1, 0
			s.blockComment()
			return 1, nil
		}
		s.state, s.escapeEnd = lexTop, escapeNone
		return 0, s.symbol('/')
	case lexBlock:
		s.nested(c)
		return 1, nil
	case lexStringQuote, lexEscapeQuote, lexQuotedQuote:
		return s.afterQuote(c)
	case lexEscapeSlash:
		s.state = lexEscape
		return 1, nil
	default: // lexCopyLine
		switch {
		case c == '\n':
			s.state = lexCopy
			s.rows.begin()
		case !isSpace(c):
			return 0, faultCopyLine
		}
		return 1, nil
	}
}

// nested processes one byte of a comment that may contain others.
func (s *sqlScanner) nested(c byte) {
	pair := [2]byte{s.star, c}
	s.star = c
	switch string(pair[:]) {
	case "/*":
		s.depth++
		s.star = 0
	case "*/":
		s.depth--
		s.star = 0
	}
	if s.depth == 0 {
		s.state = lexTop
	}
}

// line processes a comment or a meta-command up to the end of the line.
func (s *sqlScanner) line(p []byte) (int, error) {
	n := bytes.IndexByte(p, '\n')
	if n < 0 {
		s.keep(p)
		return len(p), nil
	}
	s.keep(p[:n])
	meta := s.state == lexMeta
	s.state, s.lineEmpty = lexTop, true
	switch {
	case !meta:
		if s.escapeEnd == escapeClosed {
			s.escapeEnd = escapeJoins
		}
		return n + 1, s.lineComment(string(s.text), s.cut)
	case s.cut:
		return n, faultLongToken
	default:
		return n + 1, s.metaCommand(string(s.text))
	}
}

func (s *sqlScanner) finish() error {
	if s.state != lexTop || !s.lineEmpty || s.open() {
		return faultCut
	}
	return s.ended()
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isWordStart(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80
}

// wordEnd returns how many bytes at the start of p continue a word.
func wordEnd(p []byte) int {
	for i, c := range p {
		if !isWordStart(c) && (c < '0' || c > '9') && c != '$' {
			return i
		}
	}
	return len(p)
}

// numberEnd returns how many bytes at the start of p continue a number. A dollar does not, because
// a quote may begin with it.
func numberEnd(p []byte) int {
	for i, c := range p {
		if !isWordStart(c) && (c < '0' || c > '9') && c != '.' {
			return i
		}
	}
	return len(p)
}
