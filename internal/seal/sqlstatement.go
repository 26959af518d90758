package seal

import (
	"bytes"
	"strings"
)

const (
	faultCopy       fault = "a COPY statement in a form that pg_dump does not write"
	faultRestrict   fault = "\\restrict in a wrong place"
	faultUnrestrict fault = "\\unrestrict with another key or in a wrong place"
	faultAfterTrail fault = "text after the dump's end"
	faultNoTrailer  fault = "the dump's closing lines are missing"
	faultBegin      fault = "a routine whose BEGIN has no END for psql, which cannot read the script back"
)

// trailer is how much of the script's closing lines was met:
//
//	--
//	-- PostgreSQL database dump complete
//	--
//
//	\unrestrict KEY
//
// The last two only where the script began with \restrict KEY. The empty lines count: so
// each cut is noticed, even of the last byte.
type trailer uint8

const (
	trailerNone trailer = iota
	trailerRule
	trailerComplete
	trailerRule2
	trailerComment // the comment is whole
	trailerMeta
	trailerWhole // all is whole
)

// copyStage is how much of "COPY schema.table (columns) FROM stdin;" was met.
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

// settingStage is how much of "SET standard_conforming_strings = off;" was met.
type settingStage uint8

const (
	settingNone settingStage = iota
	settingSet
	settingName
	settingEquals
	settingOff
	settingOn
)

// rootComment begins the comment that pg_dump writes where it loads a partition through
// its root; dataComment begins the one before, which names the partition.
const (
	rootComment = " load via partition root "
	dataComment = " Data for Name: "
)

// sqlStatement follows statements and the lines between them.
type sqlStatement struct {
	tally *tally

	tokens   int    // of the statement so far
	words    int    // identifiers of it
	routine  []byte // first letters of its first words, as far as they make a routine
	parens   int
	blocks   int // BEGIN ... END of an SQL function's body
	copying  copyStage
	table    Table
	setting  settingStage
	stdOff   bool // standard_conforming_strings was switched off
	rowsNext bool // a COPY statement ended, its rows follow

	comment struct {
		atStart bool  // the comment began its line
		leaf    Table // from the last dataComment
		root    bool  // rootComment followed it
	}
	key     string // of \restrict
	trail   trailer
	anyText bool // a statement was met
}

// open reports whether a statement is under way.
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

// identifier takes a word or a quoted name. A word is folded to lower case in place.
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
	s.follow(string(w), quoted)
	if s.tokens == 1 && !quoted && string(w) == "copy" {
		s.copying, s.table = copyWord, Table{}
		return nil
	}
	return s.copyIdentifier(w, cut, quoted)
}

// block follows BEGIN ATOMIC ... END in CREATE [OR REPLACE] FUNCTION or PROCEDURE, as
// psql does: semicolons in it end no statement.
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

func isRoutine(letters []byte) bool {
	tail, ok := bytes.CutPrefix(letters, []byte("cor"))
	if !ok {
		tail, ok = bytes.CutPrefix(letters, []byte("c"))
	}
	return ok && len(tail) > 0 && (tail[0] == 'f' || tail[0] == 'p')
}

// follow watches for standard_conforming_strings, which changes how strings end.
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

// copyIdentifier takes an identifier of a COPY statement.
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

// symbol takes a byte that is a token by itself.
func (s *sqlStatement) symbol(c byte) error {
	if c == ';' && s.parens == 0 && s.blocks == 0 {
		return s.endStatement()
	}
	if err := s.token(); err != nil {
		return err
	}
	switch c {
	case '(':
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

// other takes a string, a number or a dollar sign.
func (s *sqlStatement) other() error {
	s.setting = settingNone
	if s.copying != copyNone {
		return faultCopy
	}
	return s.token()
}

// endStatement takes the semicolon. After COPY, rowsNext tells the lexer to expect rows.
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
	s.tokens, s.words, s.routine = 0, 0, s.routine[:0]
	s.copying, s.setting, s.comment.root = copyNone, settingNone, false
	return err
}

// blockComment takes a comment's opening. After the dump's end it is as harmless as any.
func (s *sqlStatement) blockComment() {
	if s.trail < trailerComment {
		s.trail = trailerNone
	}
}

// lineComment takes a comment's text, without its dashes and its line break.
func (s *sqlStatement) lineComment(text string, cut bool) {
	if name, ok := strings.CutPrefix(text, dataComment); ok && !s.open() {
		s.comment.leaf, s.comment.root = leafOf(name), false
	}
	if strings.HasPrefix(text, rootComment) && !s.open() && s.comment.atStart {
		s.comment.root = s.comment.leaf != Table{} && !cut
	}
	if s.trail >= trailerComment {
		return
	}
	switch {
	case s.open() || !s.comment.atStart || cut:
		s.trail = trailerNone
	case text == "" && s.trail == trailerComplete:
		s.trail = trailerRule2
	case text == "":
		s.trail = trailerRule
	case text == " PostgreSQL database dump complete" && s.trail == trailerRule:
		s.trail = trailerComplete
	default:
		s.trail = trailerNone
	}
}

// leafOf reads the table from "NAME; Type: TABLE DATA; Schema: SCHEMA; Owner: OWNER".
// pg_dump replaces line breaks in the names by spaces; such a partition of such a root
// is the one table whose name in Contents differs from the server's.
func leafOf(text string) Table {
	const kind, owner = "; Type: TABLE DATA; Schema: ", "; Owner: "
	at, end := strings.LastIndex(text, kind), strings.LastIndex(text, owner)
	if at < 0 || end < at+len(kind) {
		return Table{}
	}
	return Table{Schema: text[at+len(kind) : end], Name: text[:at]}
}

// blankLine takes an empty line between or within statements.
func (s *sqlStatement) blankLine() {
	switch s.trail {
	case trailerRule2:
		s.trail = trailerComment
	case trailerMeta:
		s.trail = trailerWhole
	case trailerRule, trailerComplete:
		s.trail = trailerNone
	default:
	}
}

// strayMeta says what is wrong with a backslash that is no \restrict or \unrestrict.
func (s *sqlStatement) strayMeta() error {
	if s.blocks > 0 {
		return faultBegin
	}
	return faultMeta
}

// metaCommand takes a psql command that began a line between statements, without its
// backslash.
func (s *sqlStatement) metaCommand(text string) error {
	name, key, _ := strings.Cut(text, " ")
	switch {
	case key == "" || strings.Trim(key, keyLetters) != "":
		return faultMeta
	case name == "restrict":
		if s.key != "" || s.anyText || s.trail >= trailerComment {
			return faultRestrict
		}
		s.key = key
	case name == "unrestrict":
		if s.key == "" || key != s.key || s.trail != trailerComment {
			return faultUnrestrict
		}
		s.trail = trailerMeta
	default:
		return faultMeta
	}
	return nil
}

// keyLetters is what pg_dump makes and accepts as a key.
const keyLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// ended says whether the script may end here.
func (s *sqlStatement) ended() error {
	if s.key == "" && s.trail == trailerComment || s.trail == trailerWhole {
		return nil
	}
	return faultNoTrailer
}
