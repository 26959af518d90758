package archive

import (
	"bytes"

	"github.com/pgcourier/pgcourier/internal/export"
)

const (
	faultCopy fault = "a COPY statement in a form that pg_dump does not write"
)

// copyStage is how much of "COPY schema.table (columns) FROM stdin;" was read.
type copyStage uint8

const (
	copyNone copyStage = iota
	copyWord
	copyName
	copyDot
	copyQualified
	copyColumns // within the parentheses
	copyListed  // after them
	copyFrom
	copyStdin
)

// settingStage is how much of "SET standard_conforming_strings = off;" was read.
type settingStage uint8

const (
	settingNone settingStage = iota
	settingSet
	settingName
	settingEquals
	settingOff
	settingOn
)

// sqlStatement tracks statements and the lines between them.
type sqlStatement struct {
	tally *tally

	tokens   int    // of the statement so far
	words    int    // identifiers of it
	routine  []byte // first letters of its first words, if they may begin a routine
	name     []byte // of that routine: its kind, and its name up to the parenthesis
	naming   bool   // the name is incomplete
	parens   int
	blocks   int // BEGIN ... END of an SQL function's body
	copying  copyStage
	table    export.Table
	setting  settingStage
	stdOff   bool // standard_conforming_strings was switched off
	rowsNext bool // a COPY statement ended, its rows follow

	comment struct {
		atStart bool         // the comment began its line
		leaf    export.Table // from the last dataComment
		root    bool         // rootComment followed it
	}
	key     string // of \restrict
	trail   trailer
	anyText bool // a statement was read
}

// open reports whether a statement has begun and not ended.
func (s *sqlStatement) open() bool { return s.tokens > 0 }

// token counts any token of a statement.
func (s *sqlStatement) token() error {
	if s.trail >= trailerComment {
		return faultAfterTrail
	}
	s.trail, s.anyText = trailerNone, true
	s.tokens++
	return nil
}

// identifier processes a word or a quoted name. It folds a word to lower case in place.
func (s *sqlStatement) identifier(w []byte, cut, quoted bool) error {
	if err := s.token(); err != nil {
		return err
	}
	if !quoted {
		for i, c := range w {
			if c >= 'A' && c <= 'Z' {
				w[i] = c | 0x20
			}
		}
		s.block(string(w))
		s.words++
	}
	s.nameRoutine(w, quoted)
	s.follow(string(w), quoted)
	if s.tokens == 1 && !quoted && string(w) == "copy" {
		s.copying, s.table = copyWord, export.Table{}
		return nil
	}
	return s.copyIdentifier(w, cut, quoted)
}

// block tracks BEGIN ATOMIC ... END in CREATE [OR REPLACE] FUNCTION or PROCEDURE, as psql does:
// semicolons inside it end no statement.
func (s *sqlStatement) block(w string) {
	if s.words < 4 {
		letter := byte(' ')
		switch w {
		case "create", "or", "replace", "function", "procedure":
			letter = w[0]
		}
		s.routine = append(s.routine, letter)
	}
	if !isRoutine(s.routine) {
		return
	}
	switch {
	case s.parens > 0:
	case w == "begin", w == "case" && s.blocks > 0:
		s.blocks++
	case w == "end" && s.blocks > 0:
		s.blocks--
	}
}

// nameRoutine stores the name of a routine. name holds the parts as in the script, except the
// quotes in a quoted part.
func (s *sqlStatement) nameRoutine(w []byte, quoted bool) {
	switch {
	case s.naming && quoted:
		s.name = append(append(append(s.name, '"'), w...), '"')
	case s.naming:
		s.name = append(s.name, w...)
	case len(s.name) == 0 && !quoted && isRoutine(s.routine) && s.parens == 0:
		s.name, s.naming = append(append(s.name, w...), ' '), true
	}
}

func isRoutine(letters []byte) bool {
	tail, ok := bytes.CutPrefix(letters, []byte("cor"))
	if !ok {
		tail, ok = bytes.CutPrefix(letters, []byte("c"))
	}
	return ok && len(tail) > 0 && (tail[0] == 'f' || tail[0] == 'p')
}

// follow detects standard_conforming_strings, which changes where strings end.
func (s *sqlStatement) follow(w string, quoted bool) {
	switch {
	case s.tokens == 1 && w == "set" && !quoted:
		s.setting = settingSet
	case s.setting == settingSet && w == "standard_conforming_strings":
		s.setting = settingName
	case s.setting == settingEquals && w == "off":
		s.setting = settingOff
	case s.setting == settingEquals && w == "on":
		s.setting = settingOn
	default:
		s.setting = settingNone
	}
}

// copyIdentifier processes an identifier of a COPY statement.
func (s *sqlStatement) copyIdentifier(w []byte, cut, quoted bool) error {
	name := s.copying == copyWord || s.copying == copyDot
	if name && cut {
		return faultLongName
	}
	switch {
	case s.copying == copyNone || s.copying == copyColumns:
	case s.copying == copyWord:
		s.table.Name, s.copying = string(w), copyName
	case s.copying == copyDot:
		s.table.Schema, s.table.Name, s.copying = s.table.Name, string(w), copyQualified
	case quoted:
		return faultCopy
	case s.copying == copyFrom && string(w) == "stdin":
		s.copying = copyStdin
	case s.copying >= copyName && s.copying <= copyListed && string(w) == "from":
		s.copying = copyFrom
	default:
		return faultCopy
	}
	return nil
}

// symbol processes a byte that is a token by itself.
func (s *sqlStatement) symbol(c byte) error {
	if c == ';' && s.parens == 0 && s.blocks == 0 {
		return s.endStatement()
	}
	if err := s.token(); err != nil {
		return err
	}
	switch c {
	case '.':
		if s.naming {
			s.name = append(s.name, '.')
		}
	case '(':
		s.naming = false
		s.parens++
	case ')':
		s.parens = max(0, s.parens-1)
	}
	if s.setting == settingName && c == '=' {
		s.setting = settingEquals
	} else {
		s.setting = settingNone
	}
	switch {
	case s.copying == copyNone:
	case s.copying == copyColumns:
		if s.parens == 0 {
			s.copying = copyListed
		}
	case c == '.' && s.copying == copyName:
		s.copying = copyDot
	case c == '(' && (s.copying == copyName || s.copying == copyQualified):
		s.copying = copyColumns
	default:
		return faultCopy
	}
	return nil
}

// other processes a string, a number or a dollar sign.
func (s *sqlStatement) other() error {
	s.setting = settingNone
	if s.copying != copyNone {
		return faultCopy
	}
	return s.token()
}

// endStatement processes the semicolon. After COPY, rowsNext tells the lexer to expect rows.
func (s *sqlStatement) endStatement() error {
	if err := s.token(); err != nil {
		return err
	}
	if s.setting == settingOff || s.setting == settingOn {
		s.stdOff = s.setting == settingOff
	}
	var err error
	switch s.copying {
	case copyNone:
	case copyStdin:
		if s.comment.root {
			s.table = s.comment.leaf
		}
		s.rowsNext = true
		err = s.tally.begin(s.table)
	default:
		err = faultCopy
	}
	s.tokens, s.words, s.routine, s.name = 0, 0, s.routine[:0], s.name[:0]
	s.naming = false
	s.copying, s.setting, s.comment.root = copyNone, settingNone, false
	return err
}
